-- Bursts of pings. Times in µs since 1970 UTC; round trips and jitter in milliseconds.
CREATE TABLE ping (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    start    INTEGER NOT NULL,
    finish   INTEGER NOT NULL,
    clock_ok INTEGER NOT NULL,
    reach    TEXT    NOT NULL,
    sent     INTEGER NOT NULL,
    received INTEGER NOT NULL,
    late     INTEGER NOT NULL,
    doubled  INTEGER NOT NULL,
    rtt_min  REAL,
    rtt_median REAL,
    rtt_p95  REAL,
    jitter   REAL
) STRICT;

CREATE INDEX ping_start ON ping (start);
