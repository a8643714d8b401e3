-- Segments of the audit trail that were exported to a file: their events are removed, and the chain goes on from the hash of their last one.
-- +goose Up
CREATE TABLE audit_segments (
    last_seq  integer PRIMARY KEY,
    first_seq integer NOT NULL UNIQUE CHECK (first_seq > 0 AND first_seq <= last_seq),
    prev      blob NOT NULL,       -- the hash before the first event
    hash      blob NOT NULL,       -- of the last event
    file_hash blob NOT NULL,       -- SHA-256 of the exported file
    at        timestamp NOT NULL,
    key       blob NOT NULL,       -- the portal's key for heads, and its signature over all of this
    signature blob NOT NULL
);

-- Segments follow one another, begin with the oldest event there is, and end before the newest, which tells of the segment.
-- +goose StatementBegin
CREATE TRIGGER audit_segments_fit BEFORE INSERT ON audit_segments
WHEN NEW.first_seq IS NOT (SELECT min(seq) FROM audit_events)
    OR NEW.first_seq <> 1 + coalesce((SELECT max(last_seq) FROM audit_segments), 0)
    OR NEW.prev IS NOT (SELECT prev FROM audit_events WHERE seq = NEW.first_seq)
    OR NEW.hash IS NOT (SELECT hash FROM audit_events WHERE seq = NEW.last_seq)
    OR (SELECT action || ' ' || object_id FROM audit_events WHERE seq > NEW.last_seq ORDER BY seq DESC LIMIT 1) IS NOT 'audit.archive ' || lower(hex(NEW.hash))
BEGIN
    SELECT RAISE(ABORT, 'audit events are append-only: this is no segment of the oldest ones');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER audit_segments_no_update BEFORE UPDATE ON audit_segments
BEGIN
    SELECT RAISE(ABORT, 'audit segments are append-only: UPDATE is refused');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER audit_segments_no_delete BEFORE DELETE ON audit_segments
BEGIN
    SELECT RAISE(ABORT, 'audit segments are append-only: DELETE is refused');
END;
-- +goose StatementEnd

DROP TRIGGER audit_events_no_delete;
-- +goose StatementBegin
CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM audit_segments WHERE last_seq >= OLD.seq)
BEGIN
    SELECT RAISE(ABORT, 'audit events are append-only: DELETE is refused for those that are not archived');
END;
-- +goose StatementEnd
