ALTER TABLE extensions ADD COLUMN timezone TEXT;
CREATE TABLE recurring_calls (
  tenant TEXT NOT NULL, id TEXT NOT NULL, extension_id TEXT NOT NULL, user_id TEXT NOT NULL, destination TEXT NOT NULL,
  schedule TEXT NOT NULL, enabled BIGINT NOT NULL, misfire TEXT NOT NULL, action TEXT NOT NULL, max_attempts BIGINT NOT NULL,
  retry_minutes BIGINT NOT NULL, since BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE TABLE occurrences (
  tenant TEXT NOT NULL, recurring_id TEXT NOT NULL, due BIGINT NOT NULL, user_id TEXT NOT NULL, state TEXT NOT NULL,
  version BIGINT NOT NULL, owner TEXT NOT NULL, lease_until BIGINT NOT NULL, not_before BIGINT NOT NULL, attempts BIGINT NOT NULL,
  call_id TEXT, cause TEXT, updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, recurring_id, due)
);
CREATE INDEX occurrences_open ON occurrences (tenant, lease_until) WHERE state IN ('claimed', 'dialling');
CREATE INDEX occurrences_by_due ON occurrences (tenant, due);
