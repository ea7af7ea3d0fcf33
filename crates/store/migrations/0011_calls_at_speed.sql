DROP INDEX calls_by_start;
DROP INDEX calls_by_user;
DROP INDEX calls_by_other_user;
DROP INDEX calls_by_from;
DROP INDEX calls_by_to;
CREATE INDEX calls_by_start ON calls (tenant, started_at, id, from_number, to_number);
CREATE INDEX calls_by_user ON calls (tenant, user_id, started_at, id, from_number, to_number);
CREATE INDEX calls_by_other_user ON calls (tenant, other_user, started_at, id, from_number, to_number) WHERE other_user IS NOT NULL;
CREATE INDEX calls_by_from ON calls (tenant, from_number, started_at, id, user_id, other_user);
CREATE INDEX calls_by_to ON calls (tenant, to_number, started_at, id, user_id, other_user);
CREATE INDEX recordings_to_remove ON recordings (tenant, node, started_at, id) WHERE state = 'deleted' AND place <> 'gone';
CREATE TABLE leases (
  tenant TEXT NOT NULL, name TEXT NOT NULL, node TEXT NOT NULL, until BIGINT NOT NULL,
  PRIMARY KEY (tenant, name)
);
