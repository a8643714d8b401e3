-- The audit trail: every event is chained to the one before it by its hash. The database itself refuses to change or remove one.
-- +goose Up
CREATE TABLE audit_events (
    seq         integer PRIMARY KEY CHECK (seq > 0),
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
    prev        blob NOT NULL,   -- the hash of the event before; zeros at the first
    hash        blob NOT NULL    -- SHA-256 of prev and the canonical JSON of the event
);

-- +goose StatementBegin
CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN
    SELECT RAISE(ABORT, 'audit events are append-only: UPDATE is refused');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
BEGIN
    SELECT RAISE(ABORT, 'audit events are append-only: DELETE is refused');
END;
-- +goose StatementEnd

-- INSERT OR REPLACE removes a row without asking the trigger for DELETE.
-- +goose StatementBegin
CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE seq >= NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'audit events are append-only: only the next number can be given');
END;
-- +goose StatementEnd
