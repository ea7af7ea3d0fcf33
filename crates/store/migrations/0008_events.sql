ALTER TABLE api_keys ADD COLUMN expires_at BIGINT;
ALTER TABLE calls ADD COLUMN told BIGINT NOT NULL DEFAULT 0;
UPDATE calls SET told = 15 WHERE ended_at IS NOT NULL;
ALTER TABLE events ADD COLUMN other_user TEXT;
CREATE INDEX events_by_user ON events (tenant, user_id, seq);
CREATE INDEX events_by_other_user ON events (tenant, other_user, seq) WHERE other_user IS NOT NULL;
CREATE INDEX events_by_subject ON events (tenant, subject, seq);
CREATE TABLE webhooks (
  tenant TEXT NOT NULL, id TEXT NOT NULL, user_id TEXT NOT NULL, url TEXT NOT NULL, types TEXT NOT NULL, everybody BIGINT NOT NULL,
  active BIGINT NOT NULL, since BIGINT NOT NULL, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX webhooks_by_user ON webhooks (tenant, user_id, id);
CREATE TABLE deliveries (
  tenant TEXT NOT NULL, id TEXT NOT NULL, webhook_id TEXT NOT NULL, seq BIGINT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
  status TEXT NOT NULL, attempts BIGINT NOT NULL, next_at BIGINT NOT NULL, body TEXT NOT NULL, answer BIGINT, fault TEXT,
  created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX deliveries_by_event ON deliveries (tenant, webhook_id, seq);
CREATE INDEX deliveries_due ON deliveries (tenant, status, next_at);
CREATE INDEX deliveries_in_order ON deliveries (tenant, webhook_id, subject, seq) WHERE status = 'pending';
CREATE INDEX deliveries_by_age ON deliveries (tenant, updated_at);
CREATE TABLE marks (
  tenant TEXT NOT NULL, name TEXT NOT NULL, seq BIGINT NOT NULL,
  PRIMARY KEY (tenant, name)
);
CREATE TABLE idempotency (
  tenant TEXT NOT NULL, key_id TEXT NOT NULL, name TEXT NOT NULL, request BYTEA NOT NULL, at BIGINT NOT NULL, status BIGINT, answer BYTEA,
  PRIMARY KEY (tenant, key_id, name)
);
CREATE INDEX idempotency_by_age ON idempotency (tenant, at);
