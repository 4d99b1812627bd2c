-- The hub's tables for PostgreSQL; what they hold is told in the migrations of SQLite, `../sqlite`. What grows with time is cut into
-- partitions, which the program makes ahead and drops as a whole: records by when they came, pings and hours by when they were.

CREATE TABLE record (
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    school TEXT NOT NULL,
    kind TEXT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    clock_ok BOOLEAN NOT NULL,
    received BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    coding INTEGER NOT NULL,
    -- One row a number is kept so by a lock and a look at all partitions; this is the second line.
    PRIMARY KEY (node, epoch, seq, received)
) PARTITION BY RANGE (received);

CREATE TABLE latest (
    node TEXT PRIMARY KEY,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    heard BIGINT NOT NULL,
    records BIGINT NOT NULL,
    record TEXT NOT NULL,
    told_epoch BIGINT NOT NULL,
    told_seq BIGINT NOT NULL,
    glance TEXT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE hour (
    node TEXT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    school TEXT NOT NULL,
    up_seconds BIGINT NOT NULL,
    slow_seconds BIGINT NOT NULL,
    down_seconds BIGINT NOT NULL,
    no_data_seconds BIGINT NOT NULL,
    off_seconds BIGINT NOT NULL,
    clock_seconds BIGINT NOT NULL,
    rx_bytes BIGINT NOT NULL,
    tx_bytes BIGINT NOT NULL,
    background_rx_bytes BIGINT NOT NULL,
    upstream_bytes BIGINT NOT NULL,
    http_cached_bytes BIGINT NOT NULL,
    http_client_bytes BIGINT NOT NULL,
    mirror_cached_bytes BIGINT NOT NULL,
    mirror_client_bytes BIGINT NOT NULL,
    intercept_cached_bytes BIGINT NOT NULL,
    intercept_client_bytes BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    rtt_min_ms DOUBLE PRECISION,
    rtt_median_ms DOUBLE PRECISION,
    rtt_p95_ms DOUBLE PRECISION,
    loaded_rtt_median_ms DOUBLE PRECISION,
    first_byte_median_ms DOUBLE PRECISION,
    name_median_ms DOUBLE PRECISION,
    tls_median_ms DOUBLE PRECISION,
    retransmitted_ratio DOUBLE PRECISION,
    download_p95_bps BIGINT,
    upload_p95_bps BIGINT,
    domestic_rtt_ms DOUBLE PRECISION,
    domestic_bps BIGINT,
    foreign_rtt_ms DOUBLE PRECISION,
    foreign_bps BIGINT,
    PRIMARY KEY (node, started)
) PARTITION BY RANGE (started);

CREATE INDEX hour_of_school ON hour (school, ended);

CREATE TABLE ping (
    node TEXT NOT NULL,
    started BIGINT NOT NULL,
    school TEXT NOT NULL,
    reach TEXT NOT NULL,
    sent BIGINT NOT NULL,
    received BIGINT NOT NULL,
    late BIGINT NOT NULL,
    doubled BIGINT NOT NULL,
    rtt_min_ms DOUBLE PRECISION,
    rtt_median_ms DOUBLE PRECISION,
    rtt_p95_ms DOUBLE PRECISION,
    jitter_ms DOUBLE PRECISION,
    PRIMARY KEY (node, started)
) PARTITION BY RANGE (started);

CREATE INDEX ping_of_school ON ping (school, started);

CREATE TABLE test (
    node TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    school TEXT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    clock_ok BOOLEAN NOT NULL,
    id TEXT,
    cause TEXT,
    outcome TEXT,
    trouble TEXT,
    reach TEXT,
    busy BOOLEAN NOT NULL,
    cross_rx_bytes BIGINT,
    cross_tx_bytes BIGINT,
    cost_bytes BIGINT,
    download_ndt7_bps BIGINT,
    download_bps BIGINT,
    download_low_bps BIGINT,
    download_high_bps BIGINT,
    download_method TEXT,
    download_streams BIGINT,
    download_early BOOLEAN,
    download_took_ms DOUBLE PRECISION,
    download_moved_bytes BIGINT,
    download_rtt_min_ms DOUBLE PRECISION,
    download_rtt_loaded_ms DOUBLE PRECISION,
    download_retransmitted_ratio DOUBLE PRECISION,
    upload_ndt7_bps BIGINT,
    upload_bps BIGINT,
    upload_low_bps BIGINT,
    upload_high_bps BIGINT,
    upload_method TEXT,
    upload_streams BIGINT,
    upload_early BOOLEAN,
    upload_took_ms DOUBLE PRECISION,
    upload_moved_bytes BIGINT,
    upload_rtt_min_ms DOUBLE PRECISION,
    upload_rtt_loaded_ms DOUBLE PRECISION,
    upload_retransmitted_ratio DOUBLE PRECISION,
    PRIMARY KEY (node, epoch, seq)
);

CREATE INDEX test_of_school ON test (school, started);
CREATE INDEX test_by_time ON test (started);

CREATE TABLE outage (
    node TEXT NOT NULL,
    what TEXT NOT NULL,
    started BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    school TEXT NOT NULL,
    seconds BIGINT NOT NULL,
    open BOOLEAN NOT NULL,
    clock_ok BOOLEAN NOT NULL,
    PRIMARY KEY (node, what, started)
);

CREATE INDEX outage_of_school ON outage (school, started);
CREATE INDEX outage_by_time ON outage (started);

CREATE TABLE day (
    school TEXT NOT NULL,
    day INTEGER NOT NULL,
    records BIGINT NOT NULL,
    tests BIGINT NOT NULL,
    tests_failed BIGINT NOT NULL,
    test_bytes BIGINT NOT NULL,
    download_bps BIGINT,
    upload_bps BIGINT,
    latency_ms DOUBLE PRECISION,
    pings_sent BIGINT NOT NULL,
    pings_received BIGINT NOT NULL,
    ping_median_ms DOUBLE PRECISION,
    jitter_ms DOUBLE PRECISION,
    outages BIGINT NOT NULL,
    outage_seconds BIGINT NOT NULL,
    longest_outage_seconds BIGINT NOT NULL,
    up_seconds BIGINT NOT NULL,
    slow_seconds BIGINT NOT NULL,
    down_seconds BIGINT NOT NULL,
    no_data_seconds BIGINT NOT NULL,
    off_seconds BIGINT NOT NULL,
    clock_seconds BIGINT NOT NULL,
    rx_bytes BIGINT NOT NULL,
    tx_bytes BIGINT NOT NULL,
    background_rx_bytes BIGINT NOT NULL,
    upstream_bytes BIGINT NOT NULL,
    http_cached_bytes BIGINT NOT NULL,
    http_client_bytes BIGINT NOT NULL,
    mirror_cached_bytes BIGINT NOT NULL,
    mirror_client_bytes BIGINT NOT NULL,
    intercept_cached_bytes BIGINT NOT NULL,
    intercept_client_bytes BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    rtt_min_ms DOUBLE PRECISION,
    rtt_median_ms DOUBLE PRECISION,
    rtt_p95_ms DOUBLE PRECISION,
    loaded_rtt_median_ms DOUBLE PRECISION,
    first_byte_median_ms DOUBLE PRECISION,
    name_median_ms DOUBLE PRECISION,
    tls_median_ms DOUBLE PRECISION,
    retransmitted_ratio DOUBLE PRECISION,
    download_p95_bps BIGINT,
    upload_p95_bps BIGINT,
    domestic_rtt_ms DOUBLE PRECISION,
    domestic_bps BIGINT,
    foreign_rtt_ms DOUBLE PRECISION,
    foreign_bps BIGINT,
    PRIMARY KEY (school, day)
);

CREATE INDEX day_by_time ON day (day);

-- Days that must be made anew. `mark` grows with every record that touches one.
CREATE TABLE stale (
    school TEXT NOT NULL,
    day INTEGER NOT NULL,
    mark BIGINT NOT NULL,
    PRIMARY KEY (school, day)
);

-- Keys that two boxes use.
CREATE TABLE twin (
    node TEXT PRIMARY KEY NOT NULL,
    found BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    times BIGINT NOT NULL
);

-- Nodes that enrolled by a code, and any that was revoked.
CREATE TABLE node (
    id TEXT PRIMARY KEY NOT NULL,
    key TEXT NOT NULL,
    school TEXT NOT NULL,
    added BIGINT NOT NULL,
    revoked BIGINT
);

CREATE TABLE school (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    provider TEXT NOT NULL,
    contract_bps BIGINT
);

-- Codes as hashes: who reads this file cannot enrol.
CREATE TABLE code (
    id TEXT PRIMARY KEY NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    school TEXT NOT NULL,
    replaces BOOLEAN NOT NULL,
    made BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    used BIGINT,
    node TEXT
);

-- Tokens as hashes: who reads this file cannot sign in.
CREATE TABLE token (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    hash BYTEA NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT,
    used BIGINT
);

-- For Grafana and others: these names and columns stay, new ones may come.
CREATE VIEW v_school_day AS
SELECT
    school,
    DATE '1970-01-01' + day AS day,
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
    to_timestamp(started / 1000000.0) AS started,
    to_timestamp(ended / 1000000.0) AS ended,
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
    to_timestamp(started / 1000000.0) AS started,
    to_timestamp(ended / 1000000.0) AS ended,
    seconds,
    open,
    clock_ok
FROM outage;

-- Who may read the views and nothing else: `CREATE ROLE grafana LOGIN PASSWORD '…' IN ROLE bulak_reader`. Roles belong to the whole
-- server: it may be there already, and whoever owns this database may not be allowed to make one; then the server's keeper does.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bulak_reader') THEN
        CREATE ROLE bulak_reader NOLOGIN;
    END IF;
    GRANT SELECT ON v_school_day, v_test, v_outage TO bulak_reader;
EXCEPTION
    WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN
        RAISE NOTICE 'bulak_reader was not made: make it and grant it SELECT on v_school_day, v_test, v_outage';
END
$$;
