-- The frontier for a million addresses: a queue for each origin of a pack, what is open in an index of its own, running sums instead of
-- counting, pauses of hosts and robots.txt that outlive a restart. What older versions knew is carried over.

CREATE TABLE queue (
    id     INTEGER PRIMARY KEY,
    pack   TEXT NOT NULL,
    origin TEXT NOT NULL,                      -- scheme://host[:port]
    until  INTEGER NOT NULL DEFAULT 0,         -- µs since 1970: nothing may be asked of it before
    UNIQUE (pack, origin)
) STRICT;

CREATE TABLE wish_new (
    id       INTEGER PRIMARY KEY,              -- in the order in which addresses became known
    queue    INTEGER NOT NULL,
    path     TEXT    NOT NULL,                 -- path and query
    kind     TEXT    NOT NULL,                 -- page, style, script, …; sitemap and list for seeds that name others
    rank     INTEGER NOT NULL,                 -- 0 requisites, 1 media, 2 lists, 3 pages: what goes first
    depth    INTEGER NOT NULL,                 -- links away from a seed
    run      INTEGER NOT NULL,                 -- the last run that named it
    state    INTEGER NOT NULL,                 -- 0 open, 1 open but not before next_try, 2 done, 3 gone, 4 failed, 5 skipped, 6 gone and let go
    tries    INTEGER NOT NULL DEFAULT 0,
    next_try INTEGER NOT NULL DEFAULT 0,       -- µs since 1970; of a failed one: not taken up again before
    bytes    INTEGER,                          -- length of the body when it was last here
    fetched  INTEGER,                          -- µs since 1970: when the origin last confirmed it
    changed  INTEGER,                          -- µs since 1970: last change by the sitemap
    why      TEXT,                             -- why it failed, was skipped or came in part
    hops     INTEGER NOT NULL DEFAULT 0,       -- redirects on the way to it
    still    INTEGER NOT NULL DEFAULT 0,       -- checks in a row that found nothing new
    print    INTEGER,                          -- of its content, to see whether it has changed
    strikes  INTEGER NOT NULL DEFAULT 0        -- times in a row that it was given up
) STRICT;

INSERT INTO queue (pack, origin)
    SELECT DISTINCT pack, substr(url, 1, instr(url, '://') + 1 + instr(substr(url, instr(url, '://') + 3), '/')) FROM wish
    WHERE instr(url, '://') > 0 AND instr(substr(url, instr(url, '://') + 3), '/') > 1;

INSERT INTO wish_new (queue, path, kind, rank, depth, run, state, tries, next_try, bytes, fetched, changed, why)
    SELECT queue.id, substr(wish.url, length(queue.origin) + 1), kind,
           CASE WHEN kind = 'page' THEN 3 WHEN kind IN ('sitemap', 'list') THEN 2 WHEN kind = 'media' THEN 1 ELSE 0 END,
           depth, run,
           CASE state WHEN 'open' THEN CASE WHEN next_try > 0 THEN 1 ELSE 0 END
                      WHEN 'done' THEN 2 WHEN 'gone' THEN CASE WHEN next_try < 0 THEN 6 ELSE 3 END
                      WHEN 'failed' THEN 4 ELSE 5 END,
           tries, max(next_try, 0), bytes, fetched, changed, why
    FROM wish JOIN queue ON queue.pack = wish.pack
         AND queue.origin = substr(wish.url, 1, instr(wish.url, '://') + 1 + instr(substr(wish.url, instr(wish.url, '://') + 3), '/'))
    ORDER BY wish.pack, wish.rank, wish.depth, wish.url;

DROP TABLE wish;
ALTER TABLE wish_new RENAME TO wish;

CREATE UNIQUE INDEX wish_place ON wish (queue, path);
-- Gives each origin's open wishes in their order; small, since only what is open is in it.
CREATE INDEX wish_open ON wish (queue, run, rank, depth, id) WHERE state = 0;
CREATE INDEX wish_later ON wish (queue, run, next_try) WHERE state = 1;
CREATE INDEX wish_why ON wish (queue, run, state) WHERE why IS NOT NULL;

ALTER TABLE run ADD COLUMN total       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN done        INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN gone        INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN skipped     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN done_bytes  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN known       INTEGER NOT NULL DEFAULT 0;   -- open, and their length is known from an earlier run
ALTER TABLE run ADD COLUMN known_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN left_out    INTEGER NOT NULL DEFAULT 0;   -- found and not taken up: more than a pack may hold

UPDATE run SET (total, done, gone, failed, skipped, done_bytes, known, known_bytes) = (
    SELECT count(*), coalesce(sum(state = 2), 0), coalesce(sum(state IN (3, 6)), 0), coalesce(sum(state = 4), 0),
           coalesce(sum(state = 5), 0), coalesce(sum(CASE WHEN state = 2 THEN bytes END), 0),
           coalesce(sum(state < 2 AND bytes IS NOT NULL), 0), coalesce(sum(CASE WHEN state < 2 THEN bytes END), 0)
    FROM wish JOIN queue ON queue.id = wish.queue WHERE queue.pack = run.pack AND wish.run = run.run);

-- Addresses of one pattern: how many a run holds, and how many it left out.
CREATE TABLE alike (
    pack    TEXT    NOT NULL,
    key     INTEGER NOT NULL,                  -- of the pattern
    run     INTEGER NOT NULL,
    held    INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    pattern TEXT    NOT NULL,
    PRIMARY KEY (pack, key)
) STRICT, WITHOUT ROWID;

-- Hosts that are left alone, whatever pack wants them.
CREATE TABLE host (
    host  TEXT    PRIMARY KEY NOT NULL,
    until INTEGER NOT NULL,                    -- µs since 1970
    days  INTEGER NOT NULL DEFAULT 0,          -- days in a row that ended so
    why   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE robots (
    origin TEXT    PRIMARY KEY NOT NULL,
    until  INTEGER NOT NULL,                   -- µs since 1970: asked again after
    since  INTEGER,                            -- µs since 1970: fails since then
    fails  INTEGER NOT NULL DEFAULT 0,         -- in a row
    body   BLOB                                -- the file; NULL while it cannot be had
) STRICT;
