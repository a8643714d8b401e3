-- The audit trail: every event is chained to the one before it by its hash. The database itself refuses to change or remove one.
-- +goose Up
CREATE TABLE audit_events (
    seq         bigint PRIMARY KEY CHECK (seq > 0),
    at          timestamp NOT NULL,
    actor_kind  text NOT NULL,
    actor_id    text NOT NULL,
    actor_name  text NOT NULL,
    source      text NOT NULL,   -- the address the request came from; '' where there was none
    request_id  text NOT NULL,
    action      text NOT NULL,
    object_type text NOT NULL,
    object_id   text NOT NULL,
    object_name text NOT NULL,
    before      text NOT NULL,   -- JSON, byte by byte as it was hashed; 'null' for nothing
    after       text NOT NULL,
    result      text NOT NULL CHECK (result IN ('ok', 'failed', 'denied')),
    prev        bytea NOT NULL,  -- the hash of the event before; zeros at the first
    hash        bytea NOT NULL   -- SHA-256 of prev and the canonical JSON of the event
);

-- +goose StatementBegin
CREATE FUNCTION audit_events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit events are append-only: % is refused', TG_OP;
END $$;
-- +goose StatementEnd

CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_are_append_only();

-- Also for sessions that switch ordinary triggers off, as a replica's does.
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only;
