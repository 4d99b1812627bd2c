-- What a survey of a pack found, and how right plans were.

-- The last survey of each pack; findings: JSON, its meaning is the business of prefetch.
CREATE TABLE survey (
    pack     TEXT PRIMARY KEY NOT NULL,
    findings TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The plan that stood when a run began, and what the run took. Times in µs since 1970, took in µs.
CREATE TABLE plan_record (
    pack        TEXT    NOT NULL,
    run         INTEGER NOT NULL,
    began       INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    here_bytes  INTEGER NOT NULL,              -- what the pack held when it began
    planned     TEXT    NOT NULL,              -- JSON
    took_bytes  INTEGER NOT NULL DEFAULT 0,
    took_wishes INTEGER NOT NULL DEFAULT 0,
    took        INTEGER NOT NULL DEFAULT 0,
    ended       INTEGER,
    PRIMARY KEY (pack, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX plan_record_began ON plan_record (began);
