-- Bearer tokens of the API. id: the visible part; hash: blake3 of the whole token, which itself is kept nowhere. Times: µs since
-- 1970 UTC; expires NULL: never; used NULL: not yet.
CREATE TABLE token (
    id      TEXT PRIMARY KEY NOT NULL,
    name    TEXT NOT NULL UNIQUE,
    role    TEXT NOT NULL,
    hash    BLOB NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    used    INTEGER
) STRICT, WITHOUT ROWID;
