-- In which night (yyyymmdd of its evening, at the school) a wish was counted last, and as what: who is looked at twice in one night
-- counts once.
ALTER TABLE wish ADD COLUMN night INTEGER NOT NULL DEFAULT 0;
ALTER TABLE wish ADD COLUMN came TEXT;

-- What became of a pack's wishes in a night that is not told yet, by word; written with the wishes' own ends.
CREATE TABLE night_came (
    night INTEGER NOT NULL,
    pack  TEXT    NOT NULL,
    word  TEXT    NOT NULL,
    many  INTEGER NOT NULL,
    bytes INTEGER NOT NULL,                    -- lengths of the bodies
    host  TEXT,                                -- one example, for what did not come
    PRIMARY KEY (night, pack, word)
) STRICT, WITHOUT ROWID;

-- What a pack cost in such a night, and how work on it ended last.
CREATE TABLE night_pack (
    night INTEGER NOT NULL,
    pack  TEXT    NOT NULL,
    line  INTEGER NOT NULL DEFAULT 0,          -- bytes over the line
    busy  INTEGER NOT NULL DEFAULT 0,          -- µs in which something was under way
    ended TEXT,
    PRIMARY KEY (night, pack)
) STRICT, WITHOUT ROWID;

-- One row a night. cuts: starts after the power went or the node was killed; starts: those after an orderly end.
CREATE TABLE night_summary (
    night  INTEGER PRIMARY KEY NOT NULL,
    told   INTEGER,                            -- µs since 1970: when it was said to be complete
    closed INTEGER NOT NULL DEFAULT 0,         -- 1: the night is past, the figures stay as they are
    cuts   INTEGER NOT NULL DEFAULT 0,
    starts INTEGER NOT NULL DEFAULT 0,
    text   TEXT                                -- the whole of it as JSON, as it was told last
) STRICT;
