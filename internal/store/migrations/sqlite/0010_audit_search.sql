-- Searches of the audit trail read an index, however long it is: one for each thing that can be searched for, in the order of time, in
-- which events are listed.
-- +goose Up
CREATE INDEX ix_audit_events_at ON audit_events (at, seq);
CREATE INDEX ix_audit_events_actor_id ON audit_events (actor_id, at, seq);
CREATE INDEX ix_audit_events_actor_name ON audit_events (actor_name, at, seq);
CREATE INDEX ix_audit_events_action ON audit_events (action, at, seq);
CREATE INDEX ix_audit_events_kind ON audit_events (substr(action, 1, instr(action, '.')), at, seq);
CREATE INDEX ix_audit_events_object_id ON audit_events (object_id, at, seq);
CREATE INDEX ix_audit_events_object_name ON audit_events (object_name, at, seq);
CREATE INDEX ix_audit_events_actor_id_action ON audit_events (actor_id, action, at, seq);
CREATE INDEX ix_audit_events_actor_name_action ON audit_events (actor_name, action, at, seq);
CREATE INDEX ix_audit_events_actor_id_kind ON audit_events (actor_id, substr(action, 1, instr(action, '.')), at, seq);
CREATE INDEX ix_audit_events_actor_name_kind ON audit_events (actor_name, substr(action, 1, instr(action, '.')), at, seq);
