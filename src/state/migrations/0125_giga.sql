-- What waits for a Giga Meter server, and as whom the node speaks there. Times in µs since 1970 UTC.

-- One row: random ids of the node's own, and how far it has come.
-- registered: the server and school for which user_id is known there, '' for none; test: the newest speed test that was queued.
CREATE TABLE giga_mark (
    one        INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    user_id    TEXT    NOT NULL,
    device     TEXT    NOT NULL,
    mac        TEXT    NOT NULL,
    registered TEXT    NOT NULL DEFAULT '',
    test       INTEGER NOT NULL,
    delivered  INTEGER NOT NULL DEFAULT 0,
    dropped    INTEGER NOT NULL DEFAULT 0,
    unsure     INTEGER NOT NULL DEFAULT 0
) STRICT;

-- test: the speed test, NULL for a connectivity check, which has the next three.
-- asked: how often it may have arrived without anybody knowing. Written before a request leaves.
CREATE TABLE giga_item (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    made      INTEGER NOT NULL,
    test      INTEGER,
    connected INTEGER,
    latency   INTEGER,
    id        TEXT    NOT NULL DEFAULT '',
    asked     INTEGER NOT NULL DEFAULT 0,
    parked    TEXT
) STRICT;
