-- When the Giga Meter server last took something, µs since 1970 UTC; 0: never, or an older program did not write it down.
ALTER TABLE giga_mark ADD COLUMN delivered_at INTEGER NOT NULL DEFAULT 0;
