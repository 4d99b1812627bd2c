-- What packs wish for, how far each run has come, and which hosts gave trouble today.
CREATE TABLE wish (
    pack     TEXT    NOT NULL,
    url      TEXT    NOT NULL,
    kind     TEXT    NOT NULL,                 -- page, style, script, …; sitemap and list for seeds that name others
    depth    INTEGER NOT NULL,                 -- links away from a seed
    run      INTEGER NOT NULL,                 -- the last run that named it
    state    TEXT    NOT NULL,                 -- open, done, gone, failed, skipped
    tries    INTEGER NOT NULL DEFAULT 0,
    next_try INTEGER NOT NULL DEFAULT 0,       -- µs since 1970
    bytes    INTEGER,                          -- length of the body when it was last here
    fetched  INTEGER,                          -- µs since 1970: when the origin last confirmed it
    changed  INTEGER,                          -- µs since 1970: last change by the sitemap
    why      TEXT,                             -- why it failed or was skipped
    PRIMARY KEY (pack, url)
) STRICT, WITHOUT ROWID;

CREATE INDEX wish_next ON wish (pack, state, depth, next_try);

CREATE TABLE run (
    pack        TEXT    PRIMARY KEY NOT NULL,
    run         INTEGER NOT NULL,
    digest      TEXT    NOT NULL,              -- of the pack's text
    started     INTEGER NOT NULL,
    finished    INTEGER,
    failed      INTEGER NOT NULL DEFAULT 0,    -- wishes that stayed unfulfilled when it finished
    transferred INTEGER NOT NULL DEFAULT 0,    -- bytes over the line
    busy        INTEGER NOT NULL DEFAULT 0     -- µs spent fetching
) STRICT;

CREATE TABLE host_error (
    host   TEXT    NOT NULL,
    day    TEXT    NOT NULL,
    errors INTEGER NOT NULL,
    PRIMARY KEY (host, day)
) STRICT, WITHOUT ROWID;
