-- Wakes are told in the order in which they happened, also when somebody has set the clock back in between.
ALTER TABLE wakes ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
UPDATE wakes SET seq = (SELECT COUNT(*) FROM wakes AS earlier WHERE earlier.started_ms <= wakes.started_ms);
