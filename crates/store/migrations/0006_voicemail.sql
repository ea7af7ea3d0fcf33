CREATE TABLE mailboxes (
  tenant TEXT NOT NULL, extension_id TEXT NOT NULL, pin BYTEA, language TEXT NOT NULL, email TEXT, email_audio BIGINT NOT NULL,
  greeting_at BIGINT,
  PRIMARY KEY (tenant, extension_id)
);
CREATE TABLE voicemail_messages (
  tenant TEXT NOT NULL, id TEXT NOT NULL, extension_id TEXT NOT NULL, user_id TEXT NOT NULL, state TEXT NOT NULL,
  from_number TEXT NOT NULL, call_id TEXT, left_at BIGINT NOT NULL, millis BIGINT NOT NULL, heard_at BIGINT,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX voicemail_messages_by_box ON voicemail_messages (tenant, extension_id, id);
CREATE TABLE mail_deliveries (
  tenant TEXT NOT NULL, id TEXT NOT NULL, message_id TEXT NOT NULL, extension_id TEXT NOT NULL, recipient TEXT NOT NULL,
  state TEXT NOT NULL, attempts BIGINT NOT NULL, next_at BIGINT NOT NULL, created_at BIGINT NOT NULL, finished_at BIGINT, error TEXT,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX mail_deliveries_due ON mail_deliveries (tenant, next_at) WHERE state = 'waiting';
CREATE INDEX mail_deliveries_by_box ON mail_deliveries (tenant, extension_id, id);
