CREATE INDEX calls_by_from ON calls (tenant, from_number, started_at, id);
CREATE INDEX calls_by_to ON calls (tenant, to_number, started_at, id);
ALTER TABLE calls ADD COLUMN node TEXT NOT NULL DEFAULT '';
ALTER TABLE bindings ADD COLUMN node TEXT NOT NULL DEFAULT '';
