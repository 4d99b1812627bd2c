-- Pages that somebody wished for tonight. Who it was is not kept.
CREATE TABLE tonight (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    url  TEXT    NOT NULL UNIQUE,
    made INTEGER NOT NULL                      -- µs since 1970
) STRICT;
