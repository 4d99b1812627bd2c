-- Every record once, exactly as it was signed. Times in µs since 1970 UTC.
CREATE TABLE record (
    node     TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    school   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    started  INTEGER NOT NULL,
    ended    INTEGER NOT NULL,
    clock_ok INTEGER NOT NULL,
    received INTEGER NOT NULL,
    digest   BLOB NOT NULL,
    sealed   BLOB NOT NULL,
    PRIMARY KEY (node, epoch, seq)
) STRICT;

-- The newest record of every node, so that the region's page reads one row a node.
CREATE TABLE latest (
    node    TEXT PRIMARY KEY NOT NULL,
    epoch   INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    heard   INTEGER NOT NULL,
    records INTEGER NOT NULL,
    record  TEXT NOT NULL
) STRICT;
