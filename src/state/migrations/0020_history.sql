-- The line over time. level: five, hour, day; start: µs since 1970 UTC; figures: JSON.
CREATE TABLE rollup (
    level   TEXT NOT NULL,
    start   INTEGER NOT NULL,
    figures TEXT NOT NULL,
    PRIMARY KEY (level, start)
) STRICT, WITHOUT ROWID;

-- When the node ran: a row per start and state of its clock, moved on by a heartbeat. Times in µs.
CREATE TABLE uptime (
    boot     TEXT NOT NULL,
    clock_ok INTEGER NOT NULL,
    start    INTEGER NOT NULL,
    seen     INTEGER NOT NULL,
    PRIMARY KEY (boot, clock_ok, start)
) STRICT, WITHOUT ROWID;
CREATE INDEX uptime_seen ON uptime (seen);
