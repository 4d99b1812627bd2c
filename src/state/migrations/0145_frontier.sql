-- What a pack names no more, or what its origin has no more, is let go after two complete runs that say so, not after one: these two
-- columns remember the first.
ALTER TABLE run ADD COLUMN whole INTEGER NOT NULL DEFAULT 0;   -- the last complete run of a night before this one's; 0: none
ALTER TABLE wish ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;   -- the run since which the origin has it no more; 0: it has it
