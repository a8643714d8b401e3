-- Segments of the audit trail that were exported to a file: their events are removed, and the chain goes on from the hash of their last one.
-- +goose Up
CREATE TABLE audit_segments (
    last_seq  bigint PRIMARY KEY,
    first_seq bigint NOT NULL UNIQUE CHECK (first_seq > 0 AND first_seq <= last_seq),
    prev      bytea NOT NULL,      -- the hash before the first event
    hash      bytea NOT NULL,      -- of the last event
    file_hash bytea NOT NULL,      -- SHA-256 of the exported file
    at        timestamp NOT NULL,
    key       bytea NOT NULL,      -- the portal's key for heads, and its signature over all of this
    signature bytea NOT NULL
);

-- Segments follow one another, begin with the oldest event there is, and end before the newest, which tells of the segment.
-- +goose StatementBegin
CREATE FUNCTION audit_segments_fit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        RAISE EXCEPTION 'audit segments are append-only: % is refused', TG_OP;
    END IF;
    IF NEW.first_seq IS DISTINCT FROM (SELECT min(seq) FROM audit_events)
        OR NEW.first_seq <> 1 + coalesce((SELECT max(last_seq) FROM audit_segments), 0)
        OR NEW.prev IS DISTINCT FROM (SELECT prev FROM audit_events WHERE seq = NEW.first_seq)
        OR NEW.hash IS DISTINCT FROM (SELECT hash FROM audit_events WHERE seq = NEW.last_seq)
        OR (SELECT action || ' ' || object_id FROM audit_events WHERE seq > NEW.last_seq ORDER BY seq DESC LIMIT 1)
            IS DISTINCT FROM 'audit.archive ' || encode(NEW.hash, 'hex') THEN
        RAISE EXCEPTION 'audit events are append-only: this is no segment of the oldest ones';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd

CREATE TRIGGER audit_segments_fit BEFORE INSERT ON audit_segments FOR EACH ROW EXECUTE FUNCTION audit_segments_fit();
CREATE TRIGGER audit_segments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_segments FOR EACH STATEMENT EXECUTE FUNCTION audit_segments_fit();
ALTER TABLE audit_segments ENABLE ALWAYS TRIGGER audit_segments_fit;
ALTER TABLE audit_segments ENABLE ALWAYS TRIGGER audit_segments_append_only;

-- +goose StatementBegin
CREATE FUNCTION audit_events_are_archived() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM gone WHERE seq > coalesce((SELECT max(last_seq) FROM audit_segments), 0)) THEN
        RAISE EXCEPTION 'audit events are append-only: DELETE is refused for those that are not archived';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

DROP TRIGGER audit_events_append_only ON audit_events;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR TRUNCATE ON audit_events FOR EACH STATEMENT EXECUTE FUNCTION audit_events_are_append_only();
CREATE TRIGGER audit_events_archived AFTER DELETE ON audit_events REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION audit_events_are_archived();
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only;
ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_archived;
