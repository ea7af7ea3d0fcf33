CREATE TABLE trunks (
  tenant TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, enabled BIGINT NOT NULL, priority BIGINT NOT NULL, settings TEXT NOT NULL,
  password BYTEA, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
);
