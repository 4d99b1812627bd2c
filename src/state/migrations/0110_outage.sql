-- The log of outages. Times in µs since 1970 UTC. number: grows with every change that is to be told; an outage that is over takes
-- another one. what: see link::outage::What. seconds: how long it really lasted; joined: short ones that are part of it.
CREATE TABLE outage (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    what    TEXT    NOT NULL,
    start   INTEGER NOT NULL,
    end     INTEGER NOT NULL,
    seconds INTEGER NOT NULL,
    open    INTEGER NOT NULL,
    joined  INTEGER NOT NULL
) STRICT;

CREATE INDEX outage_start ON outage (start);
