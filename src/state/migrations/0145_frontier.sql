-- What a pack names no more, or what its origin has no more, is let go after two complete runs that say so, not after one: these
-- columns remember the first. Runs follow one another more closely than nights where a pack is fetched by hand: then the oldest complete
-- one waits until it is old enough.
ALTER TABLE run ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;   -- the last complete run of a night before this one's; 0: none
ALTER TABLE run ADD COLUMN young INTEGER NOT NULL DEFAULT 0;   -- a complete run that is not old enough yet; 0: none
ALTER TABLE run ADD COLUMN young_end INTEGER;                  -- when it ended (microseconds since 1970)
ALTER TABLE wish ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;   -- the run since which the origin has it no more; 0: it has it
