-- What records tell, in columns: hours for a year, days for ever; who may report and who may look. Times in µs since 1970 UTC, `day`
-- counts the region's own dates from 1970-01-01. Columns of hours and days are those of hub/figures.rs.

-- How `sealed` is coded: see hub/keep/coding.rs.
ALTER TABLE record ADD COLUMN coding INTEGER NOT NULL DEFAULT 0;

-- `epoch` and `seq` are of the newest record of any kind, `told_epoch` and `told_seq` of the newest hour, which `record` and `glance` show.
ALTER TABLE latest ADD COLUMN told_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE latest ADD COLUMN told_seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE latest ADD COLUMN glance TEXT NOT NULL DEFAULT '';

CREATE TABLE hour (
    node TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    school TEXT NOT NULL,
    up_seconds INTEGER NOT NULL,
    slow_seconds INTEGER NOT NULL,
    down_seconds INTEGER NOT NULL,
    no_data_seconds INTEGER NOT NULL,
    off_seconds INTEGER NOT NULL,
    clock_seconds INTEGER NOT NULL,
    rx_bytes INTEGER NOT NULL,
    tx_bytes INTEGER NOT NULL,
    background_rx_bytes INTEGER NOT NULL,
    upstream_bytes INTEGER NOT NULL,
    http_cached_bytes INTEGER NOT NULL,
    http_client_bytes INTEGER NOT NULL,
    mirror_cached_bytes INTEGER NOT NULL,
    mirror_client_bytes INTEGER NOT NULL,
    intercept_cached_bytes INTEGER NOT NULL,
    intercept_client_bytes INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    rtt_min_ms REAL,
    rtt_median_ms REAL,
    rtt_p95_ms REAL,
    loaded_rtt_median_ms REAL,
    first_byte_median_ms REAL,
    name_median_ms REAL,
    tls_median_ms REAL,
    retransmitted_ratio REAL,
    download_p95_bps INTEGER,
    upload_p95_bps INTEGER,
    domestic_rtt_ms REAL,
    domestic_bps INTEGER,
    foreign_rtt_ms REAL,
    foreign_bps INTEGER,
    PRIMARY KEY (node, started)
) STRICT;

CREATE INDEX hour_of_school ON hour (school, ended);

CREATE TABLE ping (
    node TEXT NOT NULL,
    started INTEGER NOT NULL,
    school TEXT NOT NULL,
    reach TEXT NOT NULL,
    sent INTEGER NOT NULL,
    received INTEGER NOT NULL,
    late INTEGER NOT NULL,
    doubled INTEGER NOT NULL,
    rtt_min_ms REAL,
    rtt_median_ms REAL,
    rtt_p95_ms REAL,
    jitter_ms REAL,
    PRIMARY KEY (node, started)
) STRICT;

CREATE INDEX ping_of_school ON ping (school, started);

CREATE TABLE test (
    node TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    school TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    clock_ok INTEGER NOT NULL,
    id TEXT,
    cause TEXT,
    outcome TEXT,
    trouble TEXT,
    reach TEXT,
    busy INTEGER NOT NULL,
    cross_rx_bytes INTEGER,
    cross_tx_bytes INTEGER,
    cost_bytes INTEGER,
    download_ndt7_bps INTEGER,
    download_bps INTEGER,
    download_low_bps INTEGER,
    download_high_bps INTEGER,
    download_method TEXT,
    download_streams INTEGER,
    download_early INTEGER,
    download_took_ms REAL,
    download_moved_bytes INTEGER,
    download_rtt_min_ms REAL,
    download_rtt_loaded_ms REAL,
    download_retransmitted_ratio REAL,
    upload_ndt7_bps INTEGER,
    upload_bps INTEGER,
    upload_low_bps INTEGER,
    upload_high_bps INTEGER,
    upload_method TEXT,
    upload_streams INTEGER,
    upload_early INTEGER,
    upload_took_ms REAL,
    upload_moved_bytes INTEGER,
    upload_rtt_min_ms REAL,
    upload_rtt_loaded_ms REAL,
    upload_retransmitted_ratio REAL,
    PRIMARY KEY (node, epoch, seq)
) STRICT;

CREATE INDEX test_of_school ON test (school, started);
CREATE INDEX test_by_time ON test (started);

CREATE TABLE outage (
    node TEXT NOT NULL,
    what TEXT NOT NULL,
    started INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    school TEXT NOT NULL,
    seconds INTEGER NOT NULL,
    open INTEGER NOT NULL,
    clock_ok INTEGER NOT NULL,
    PRIMARY KEY (node, what, started)
) STRICT;

CREATE INDEX outage_of_school ON outage (school, started);
CREATE INDEX outage_by_time ON outage (started);

CREATE TABLE day (
    school TEXT NOT NULL,
    day INTEGER NOT NULL,
    records INTEGER NOT NULL,
    tests INTEGER NOT NULL,
    tests_failed INTEGER NOT NULL,
    test_bytes INTEGER NOT NULL,
    download_bps INTEGER,
    upload_bps INTEGER,
    latency_ms REAL,
    pings_sent INTEGER NOT NULL,
    pings_received INTEGER NOT NULL,
    ping_median_ms REAL,
    jitter_ms REAL,
    outages INTEGER NOT NULL,
    outage_seconds INTEGER NOT NULL,
    longest_outage_seconds INTEGER NOT NULL,
    up_seconds INTEGER NOT NULL,
    slow_seconds INTEGER NOT NULL,
    down_seconds INTEGER NOT NULL,
    no_data_seconds INTEGER NOT NULL,
    off_seconds INTEGER NOT NULL,
    clock_seconds INTEGER NOT NULL,
    rx_bytes INTEGER NOT NULL,
    tx_bytes INTEGER NOT NULL,
    background_rx_bytes INTEGER NOT NULL,
    upstream_bytes INTEGER NOT NULL,
    http_cached_bytes INTEGER NOT NULL,
    http_client_bytes INTEGER NOT NULL,
    mirror_cached_bytes INTEGER NOT NULL,
    mirror_client_bytes INTEGER NOT NULL,
    intercept_cached_bytes INTEGER NOT NULL,
    intercept_client_bytes INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    rtt_min_ms REAL,
    rtt_median_ms REAL,
    rtt_p95_ms REAL,
    loaded_rtt_median_ms REAL,
    first_byte_median_ms REAL,
    name_median_ms REAL,
    tls_median_ms REAL,
    retransmitted_ratio REAL,
    download_p95_bps INTEGER,
    upload_p95_bps INTEGER,
    domestic_rtt_ms REAL,
    domestic_bps INTEGER,
    foreign_rtt_ms REAL,
    foreign_bps INTEGER,
    PRIMARY KEY (school, day)
) STRICT, WITHOUT ROWID;

CREATE INDEX day_by_time ON day (day);

-- Days that must be made anew. `mark` grows with every record that touches one.
CREATE TABLE stale (
    school TEXT NOT NULL,
    day INTEGER NOT NULL,
    mark INTEGER NOT NULL,
    PRIMARY KEY (school, day)
) STRICT;

-- Keys that two boxes use.
CREATE TABLE twin (
    node TEXT PRIMARY KEY NOT NULL,
    found INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    times INTEGER NOT NULL
) STRICT;

-- Nodes that enrolled by a code, and any that was revoked.
CREATE TABLE node (
    id TEXT PRIMARY KEY NOT NULL,
    key TEXT NOT NULL,
    school TEXT NOT NULL,
    added INTEGER NOT NULL,
    revoked INTEGER
) STRICT;

CREATE TABLE school (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    provider TEXT NOT NULL,
    contract_bps INTEGER
) STRICT;

-- Codes as hashes: who reads this file cannot enrol.
CREATE TABLE code (
    id TEXT PRIMARY KEY NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    school TEXT NOT NULL,
    replaces INTEGER NOT NULL,
    made INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    used INTEGER,
    node TEXT
) STRICT;

-- Tokens as hashes: who reads this file cannot sign in.
CREATE TABLE token (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    hash BLOB NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    used INTEGER
) STRICT;

-- For Grafana and others: these names and columns stay, new ones may come.
CREATE VIEW v_school_day AS
SELECT
    school,
    date(day * 86400, 'unixepoch') AS day,
    records,
    tests,
    tests_failed,
    test_bytes,
    download_bps,
    upload_bps,
    latency_ms,
    pings_sent,
    pings_received,
    ping_median_ms,
    jitter_ms,
    outages,
    outage_seconds,
    longest_outage_seconds,
    up_seconds,
    slow_seconds,
    down_seconds,
    no_data_seconds,
    off_seconds,
    clock_seconds,
    rx_bytes,
    tx_bytes,
    background_rx_bytes,
    upstream_bytes,
    http_cached_bytes,
    http_client_bytes,
    mirror_cached_bytes,
    mirror_client_bytes,
    intercept_cached_bytes,
    intercept_client_bytes,
    attempts,
    failures,
    rtt_min_ms,
    rtt_median_ms,
    rtt_p95_ms,
    loaded_rtt_median_ms,
    first_byte_median_ms,
    name_median_ms,
    tls_median_ms,
    retransmitted_ratio,
    download_p95_bps,
    upload_p95_bps,
    domestic_rtt_ms,
    domestic_bps,
    foreign_rtt_ms,
    foreign_bps
FROM day;

CREATE VIEW v_test AS
SELECT
    school,
    node,
    strftime('%Y-%m-%dT%H:%M:%SZ', started / 1000000, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%SZ', ended / 1000000, 'unixepoch') AS ended,
    clock_ok,
    id,
    cause,
    outcome,
    trouble,
    reach,
    busy,
    cross_rx_bytes,
    cross_tx_bytes,
    cost_bytes,
    download_ndt7_bps,
    download_bps,
    download_low_bps,
    download_high_bps,
    download_method,
    download_streams,
    download_early,
    download_took_ms,
    download_moved_bytes,
    download_rtt_min_ms,
    download_rtt_loaded_ms,
    download_retransmitted_ratio,
    upload_ndt7_bps,
    upload_bps,
    upload_low_bps,
    upload_high_bps,
    upload_method,
    upload_streams,
    upload_early,
    upload_took_ms,
    upload_moved_bytes,
    upload_rtt_min_ms,
    upload_rtt_loaded_ms,
    upload_retransmitted_ratio
FROM test;

CREATE VIEW v_outage AS
SELECT
    school,
    node,
    what,
    strftime('%Y-%m-%dT%H:%M:%SZ', started / 1000000, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%SZ', ended / 1000000, 'unixepoch') AS ended,
    seconds,
    open,
    clock_ok
FROM outage;
