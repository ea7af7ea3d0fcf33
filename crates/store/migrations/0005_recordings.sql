CREATE TABLE recordings (
  tenant TEXT NOT NULL, id TEXT NOT NULL, call_id TEXT NOT NULL, user_id TEXT NOT NULL, other_user TEXT, extension TEXT, state TEXT NOT NULL,
  started_at BIGINT NOT NULL, ended_at BIGINT, format TEXT NOT NULL, bytes BIGINT NOT NULL, millis BIGINT NOT NULL, sha256 TEXT, fault TEXT,
  place TEXT NOT NULL DEFAULT 'folder', tries BIGINT NOT NULL DEFAULT 0, next_try_at BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX recordings_by_start ON recordings (tenant, started_at, id);
CREATE INDEX recordings_by_call ON recordings (tenant, call_id, started_at, id);
CREATE INDEX recordings_by_user ON recordings (tenant, user_id, started_at, id);
CREATE INDEX recordings_by_other_user ON recordings (tenant, other_user, started_at, id) WHERE other_user IS NOT NULL;
CREATE INDEX recordings_open ON recordings (tenant, started_at) WHERE state = 'recording';
ALTER TABLE extensions ADD COLUMN record_calls TEXT NOT NULL DEFAULT 'default';
