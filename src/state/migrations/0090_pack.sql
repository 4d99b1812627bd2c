-- Packs from outside as they were last taken: a file that goes back to an older version, or is damaged, does not put them out of force.
CREATE TABLE pack_kept (
    id        TEXT    NOT NULL,
    publisher TEXT    NOT NULL,                -- the key that signed it
    version   TEXT    NOT NULL,
    file      TEXT    NOT NULL,                -- where it lay
    text      TEXT    NOT NULL,
    taken     INTEGER NOT NULL,                -- µs since 1970
    PRIMARY KEY (id, publisher)
) STRICT;

-- Packs whose place another has taken. The row is the step: once it is written, the old pack is out of force.
CREATE TABLE pack_replaced (
    id     TEXT    PRIMARY KEY NOT NULL,
    by     TEXT    NOT NULL,
    at     INTEGER NOT NULL,                   -- µs since 1970
    let_go INTEGER NOT NULL DEFAULT 0          -- 1: its content is no longer kept for it
) STRICT;
