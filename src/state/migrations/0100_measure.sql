-- Speed tests: their figures, what they cost, when they are due. Times in µs since 1970 UTC; days as the school has them.

-- figures: what meter::Kept holds, as JSON; raw: the last measurement messages word by word, '' once they are old.
CREATE TABLE meter_test (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    start  INTEGER NOT NULL,
    figures TEXT   NOT NULL,
    raw    TEXT    NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX meter_test_start ON meter_test (start);

-- What tests have taken from the line, by day.
CREATE TABLE meter_spent (
    day   TEXT    PRIMARY KEY NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row while a test runs: what it may take. Found after a power cut, all of it counts as spent.
CREATE TABLE meter_open (
    one   INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    day   TEXT    NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;

-- The instant that was drawn for each slot of a day: a reboot draws no other. state: waiting, done, skipped.
CREATE TABLE meter_slot (
    day   TEXT    NOT NULL,
    slot  INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    state TEXT    NOT NULL,
    PRIMARY KEY (day, slot)
) STRICT, WITHOUT ROWID;
