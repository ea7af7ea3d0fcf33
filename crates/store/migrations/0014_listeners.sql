-- A listener by its address, for an index changes when another one is configured before it; NULL in rows of before.
ALTER TABLE bindings ADD COLUMN listener_address TEXT;
-- Which flow of which phone it is (RFC 5626 section 6).
ALTER TABLE bindings ADD COLUMN instance TEXT;
ALTER TABLE bindings ADD COLUMN reg_id TEXT;
ALTER TABLE open_legs ADD COLUMN listener_address TEXT;
-- What the call's record says of the leg, for a record that a crash leaves to be written.
ALTER TABLE open_legs ADD COLUMN place BIGINT;
ALTER TABLE open_legs ADD COLUMN record TEXT;
