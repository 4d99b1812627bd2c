-- An address that fails for good must not keep a run from being complete for ever.
ALTER TABLE run ADD COLUMN doubtful INTEGER NOT NULL DEFAULT 0;   -- of those that failed, those that may come yet
UPDATE run SET doubtful = failed;
