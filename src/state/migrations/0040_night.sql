-- What the night remembers through a power cut: bytes it brought, time it gave to packs, what people asked for, whether it rests.

-- period: 2026-11-25 is the night of that evening, noon to noon; 2026-11 is a month; both in the school's zone.
CREATE TABLE night_sum (
    period TEXT    PRIMARY KEY NOT NULL,
    bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How long the night worked on a pack by schedule, µs: who has had least goes next.
CREATE TABLE night_turn (
    night TEXT    NOT NULL,
    pack  TEXT    NOT NULL,
    busy  INTEGER NOT NULL,
    PRIMARY KEY (night, pack)
) STRICT, WITHOUT ROWID;

-- Packs that a person asked for, in order, until they are through. not_before: a host asked to wait, µs since 1970.
CREATE TABLE night_queue (
    place      INTEGER PRIMARY KEY AUTOINCREMENT,
    pack       TEXT    NOT NULL UNIQUE,
    not_before INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One row while a person has paused the night. Times in µs since 1970; until is NULL: until somebody resumes it.
CREATE TABLE night_pause (
    one   INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    since INTEGER NOT NULL,
    until INTEGER
) STRICT;
