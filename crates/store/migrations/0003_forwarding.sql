ALTER TABLE extensions ADD COLUMN dial_permissions TEXT NOT NULL DEFAULT '{}';
ALTER TABLE extensions ADD COLUMN follow_me TEXT;
