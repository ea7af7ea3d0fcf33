CREATE TABLE outside_time (
  tenant TEXT NOT NULL, call_id TEXT NOT NULL, leg BIGINT NOT NULL, user_id TEXT NOT NULL, began_at BIGINT NOT NULL, ended_at BIGINT,
  node TEXT NOT NULL,
  PRIMARY KEY (tenant, call_id, leg)
);
CREATE INDEX outside_time_by_end ON outside_time (tenant, ended_at);
