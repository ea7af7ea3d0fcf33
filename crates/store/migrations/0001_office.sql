CREATE TABLE users (
  tenant TEXT NOT NULL, id TEXT NOT NULL, created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE TABLE api_keys (
  tenant TEXT NOT NULL, id TEXT NOT NULL, user_id TEXT NOT NULL, name TEXT NOT NULL, prefix TEXT NOT NULL, hash BYTEA NOT NULL,
  permissions TEXT NOT NULL, active BIGINT NOT NULL, requests_per_minute BIGINT, created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX api_keys_by_hash ON api_keys (hash);
CREATE TABLE extensions (
  tenant TEXT NOT NULL, id TEXT NOT NULL, user_id TEXT NOT NULL, number TEXT NOT NULL, display_name TEXT NOT NULL, status TEXT NOT NULL,
  username TEXT NOT NULL, forwarding_enabled BIGINT NOT NULL, forwarding_number TEXT, forwarding_mode TEXT NOT NULL,
  voicemail_enabled BIGINT NOT NULL, do_not_disturb BIGINT NOT NULL, call_waiting BIGINT NOT NULL, ring_seconds BIGINT NOT NULL,
  created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX extensions_by_number ON extensions (tenant, number);
CREATE TABLE credentials (
  tenant TEXT NOT NULL, username TEXT NOT NULL, user_id TEXT NOT NULL, extension_id TEXT, ha1_md5 BYTEA NOT NULL, ha1_sha256 BYTEA NOT NULL,
  ha1_by_number BYTEA, created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, username)
);
CREATE TABLE outbox (
  tenant TEXT NOT NULL, seq BIGINT NOT NULL, at BIGINT NOT NULL, changes TEXT NOT NULL,
  PRIMARY KEY (seq)
);
CREATE TABLE events (
  tenant TEXT NOT NULL, seq BIGINT NOT NULL, at BIGINT NOT NULL, kind TEXT NOT NULL, user_id TEXT, subject TEXT NOT NULL, key_id TEXT,
  ip TEXT, request TEXT NOT NULL, detail TEXT NOT NULL,
  PRIMARY KEY (seq)
);
CREATE INDEX events_by_age ON events (tenant, at);
CREATE TABLE key_uses (
  tenant TEXT NOT NULL, key_id TEXT NOT NULL, day BIGINT NOT NULL, route TEXT NOT NULL, ip TEXT NOT NULL, status BIGINT NOT NULL,
  uses BIGINT NOT NULL, last_used BIGINT NOT NULL,
  PRIMARY KEY (tenant, key_id, day, route, ip, status)
);
CREATE TABLE bindings (
  tenant TEXT NOT NULL, username TEXT NOT NULL, contact TEXT NOT NULL, path TEXT NOT NULL, call_id TEXT NOT NULL, cseq BIGINT NOT NULL,
  q BIGINT NOT NULL, expires_at BIGINT NOT NULL, created_at BIGINT NOT NULL, user_agent TEXT NOT NULL, transport BIGINT NOT NULL,
  listener BIGINT NOT NULL, local TEXT NOT NULL, remote TEXT NOT NULL, flow_epoch BIGINT NOT NULL, flow_number BIGINT NOT NULL,
  PRIMARY KEY (tenant, username, contact)
);
CREATE TABLE calls (
  tenant TEXT NOT NULL, id TEXT NOT NULL, user_id TEXT NOT NULL, other_user TEXT, direction TEXT NOT NULL, status TEXT NOT NULL,
  from_number TEXT NOT NULL, to_number TEXT NOT NULL, device TEXT, started_at BIGINT NOT NULL, answered_at BIGINT, ended_at BIGINT,
  cause TEXT, trace TEXT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX calls_by_start ON calls (tenant, started_at, id);
CREATE INDEX calls_by_user ON calls (tenant, user_id, started_at, id);
CREATE INDEX calls_by_other_user ON calls (tenant, other_user, started_at, id) WHERE other_user IS NOT NULL;
CREATE INDEX calls_open ON calls (tenant, id) WHERE ended_at IS NULL;
CREATE TABLE legs (
  tenant TEXT NOT NULL, call_id TEXT NOT NULL, place BIGINT NOT NULL, role TEXT NOT NULL, party TEXT NOT NULL, address TEXT,
  sip_call_id TEXT NOT NULL, started_at BIGINT NOT NULL, answered_at BIGINT, ended_at BIGINT, cause TEXT, sip_status BIGINT, codec TEXT,
  quality TEXT,
  PRIMARY KEY (tenant, call_id, place)
);
CREATE TABLE open_legs (
  tenant TEXT NOT NULL, call_id TEXT NOT NULL, dialog BYTEA NOT NULL, transport BIGINT NOT NULL, listener BIGINT NOT NULL,
  local TEXT NOT NULL, remote TEXT NOT NULL,
  PRIMARY KEY (tenant, call_id, dialog)
);
CREATE TABLE ladders (
  tenant TEXT NOT NULL, call_id TEXT NOT NULL, messages BYTEA NOT NULL,
  PRIMARY KEY (tenant, call_id)
);
