-- Reports of other kinds than hours, smaller at rest, and dated anew once the clock is right.

-- How `sealed` is packed (0: as it travels), see report/coding.rs; and its length as it travels.
ALTER TABLE outbox ADD COLUMN coding INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN size INTEGER NOT NULL DEFAULT 0;

-- blind: dated by a clock that could not be believed. tried: the hub may have it, so it stays as it is.
ALTER TABLE outbox ADD COLUMN blind INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN tried INTEGER NOT NULL DEFAULT 0;
UPDATE outbox SET size = length(sealed), tried = 1;

-- Up to which number everything that a source has kept is in the outbox.
CREATE TABLE outbox_cursor (
    kind   TEXT PRIMARY KEY NOT NULL,
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: how much there is, so that nobody has to look at all of it when one more comes.
CREATE TABLE outbox_sum (
    one     INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    records INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_sum (one, records, bytes) SELECT 1, count(*), coalesce(sum(length(sealed)), 0) FROM outbox;

CREATE TRIGGER outbox_comes AFTER INSERT ON outbox BEGIN
    UPDATE outbox_sum SET records = records + 1, bytes = bytes + length(new.sealed);
END;
CREATE TRIGGER outbox_goes AFTER DELETE ON outbox BEGIN
    UPDATE outbox_sum SET records = records - 1, bytes = bytes - length(old.sealed);
END;
CREATE TRIGGER outbox_changes AFTER UPDATE OF sealed ON outbox BEGIN
    UPDATE outbox_sum SET bytes = bytes - length(old.sealed) + length(new.sealed);
END;
