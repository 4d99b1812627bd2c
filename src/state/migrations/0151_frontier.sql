-- When a run was through first: taking up what failed in it makes nothing else newer.
ALTER TABLE run ADD COLUMN through INTEGER;                       -- microseconds since 1970
UPDATE run SET through = finished;
ALTER TABLE run ADD COLUMN no_room INTEGER NOT NULL DEFAULT 0;    -- wishes that were left out because there was no room for them
