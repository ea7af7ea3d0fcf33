CREATE TABLE installation (
  tenant TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  PRIMARY KEY (tenant, name)
);
CREATE TABLE removed_audio (
  tenant TEXT NOT NULL, seq BIGINT NOT NULL, name TEXT NOT NULL, at BIGINT NOT NULL,
  PRIMARY KEY (tenant, seq)
);
CREATE INDEX removed_audio_by_age ON removed_audio (tenant, at);
