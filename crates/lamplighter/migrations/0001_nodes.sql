-- What was last seen of each node, so that a sleeping one can be listed and woken after a restart.
-- Only TEXT, BIGINT and DOUBLE PRECISION; times are milliseconds since 1970.
CREATE TABLE nodes (
    name       TEXT PRIMARY KEY NOT NULL,
    url        TEXT NOT NULL,
    engine     TEXT,
    version    TEXT,
    dialects   TEXT NOT NULL,
    models     TEXT NOT NULL,
    macs       TEXT NOT NULL,
    address    TEXT,
    networks   TEXT NOT NULL,
    vram_bytes BIGINT,
    seen_ms    BIGINT NOT NULL
);

-- Every wake: what it was for, how far it came and when. Durations count from its start.
CREATE TABLE wakes (
    node         TEXT NOT NULL,
    started_ms   BIGINT NOT NULL,
    cause        TEXT NOT NULL,
    asked_by     TEXT,
    outcome      TEXT,
    reason       TEXT,
    rounds       BIGINT NOT NULL,
    reachable_ms BIGINT,
    api_ms       BIGINT,
    ready_ms     BIGINT,
    ended_ms     BIGINT,
    PRIMARY KEY (node, started_ms)
);

-- A node's time in slots of fifteen minutes, counted from 1970.
CREATE TABLE availability (
    node      TEXT NOT NULL,
    slot      BIGINT NOT NULL,
    up_ms     BIGINT NOT NULL,
    asleep_ms BIGINT NOT NULL,
    away_ms   BIGINT NOT NULL,
    down_ms   BIGINT NOT NULL,
    answered  BIGINT NOT NULL,
    PRIMARY KEY (node, slot)
);
