-- What at least five devices missed on one day. Nothing below that is ever written.
CREATE TABLE proposal (
    id    TEXT    PRIMARY KEY NOT NULL,
    kind  TEXT    NOT NULL,                    -- page, folder
    url   TEXT    NOT NULL,
    first TEXT    NOT NULL,                    -- the day on which it came up first
    last  TEXT    NOT NULL,                    -- the last such day
    days  INTEGER NOT NULL,                    -- on how many days it came up
    state TEXT    NOT NULL                     -- open, approved, dismissed
) STRICT, WITHOUT ROWID;
