-- On which days any device used a stored address (blake3 of its URL, 16 bytes). Who it was is known nowhere.
CREATE TABLE use_day (
    key  BLOB    PRIMARY KEY NOT NULL,
    last INTEGER NOT NULL,                     -- days since 1970 in the school's zone
    days INTEGER NOT NULL                      -- bit n: n days before `last`
) STRICT, WITHOUT ROWID;
CREATE INDEX use_day_last ON use_day (last);

-- What the night brought over the line, by address, pack and week; used: by any device since.
CREATE TABLE brought (
    key   BLOB    NOT NULL,
    pack  TEXT    NOT NULL,
    week  INTEGER NOT NULL,                    -- weeks since 1970, from Monday on
    bytes INTEGER NOT NULL,
    used  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (key, pack, week)
) STRICT, WITHOUT ROWID;

-- The sums of weeks that are over for so long that nothing will change.
CREATE TABLE brought_week (
    pack  TEXT    NOT NULL,
    week  INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    used  INTEGER NOT NULL,                    -- bytes
    PRIMARY KEY (pack, week)
) STRICT, WITHOUT ROWID;
