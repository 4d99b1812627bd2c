-- Reports that wait for the hub. sealed: signature and record, exactly as they travel; made: µs since 1970.
CREATE TABLE outbox (
    epoch  INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    made   INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    sealed BLOB NOT NULL,
    parked TEXT,
    PRIMARY KEY (epoch, seq)
) STRICT;
CREATE INDEX outbox_waiting ON outbox (epoch, seq) WHERE parked IS NULL;

-- One row: the last number given out, the end of the newest record, how many were dropped or delivered.
CREATE TABLE outbox_mark (
    one       INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    epoch     INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    ended     INTEGER NOT NULL DEFAULT 0,
    dropped   INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0
) STRICT;
