CREATE TABLE sounds (
  tenant TEXT NOT NULL, id TEXT NOT NULL, extension_id TEXT NOT NULL, user_id TEXT NOT NULL, name TEXT NOT NULL, millis BIGINT NOT NULL,
  created_at BIGINT NOT NULL, audio BYTEA NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX sounds_by_extension ON sounds (tenant, extension_id, id);
