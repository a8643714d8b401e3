-- The settings of the calls of users, and what they refer to.
-- +goose Up
ALTER TABLE users ADD COLUMN calls text COLLATE "C" NOT NULL DEFAULT ''; -- JSON; '': everything is inherited

-- As in 0021, and with the new column.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_uncovered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        IF (NEW.id, NEW.tenant_id, NEW.name, NEW.email, NEW.enabled, NEW.calls, NEW.created_at)
            IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.name, OLD.email, OLD.enabled, OLD.calls, OLD.created_at) THEN
            UPDATE extensions SET row_hash = NULL WHERE user_id IN (OLD.id, NEW.id) AND row_hash IS NOT NULL;
        END IF;
        RETURN NULL;
    END IF;
    NEW.row_hash := NULL;
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_altered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        IF (NEW.id, NEW.tenant_id, NEW.name, NEW.email, NEW.enabled, NEW.calls, NEW.created_at)
            IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.name, OLD.email, OLD.enabled, OLD.calls, OLD.created_at) THEN
            NEW.version := greatest(NEW.version, OLD.version + 1);
            IF NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
                NEW.updated_at := now() AT TIME ZONE 'UTC';
            END IF;
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' THEN
        UPDATE users SET version = version + 1, updated_at = now() AT TIME ZONE 'UTC' WHERE id = OLD.user_id;
    ELSIF (NEW.id, NEW.number, NEW.user_id, NEW.secret, NEW.created_at) IS DISTINCT FROM (OLD.id, OLD.number, OLD.user_id, OLD.secret, OLD.created_at) THEN
        UPDATE users SET version = version + 1, updated_at = now() AT TIME ZONE 'UTC' WHERE id IN (OLD.user_id, NEW.user_id);
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TABLE user_refs (
    from_user uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    field     varchar(60) COLLATE "C" NOT NULL,
    to_thing  uuid REFERENCES things (id),
    to_user   uuid REFERENCES users (id),
    PRIMARY KEY (from_user, field),
    CHECK ((to_thing IS NULL) <> (to_user IS NULL))
);
CREATE INDEX ix_user_refs_thing ON user_refs (to_thing) WHERE to_thing IS NOT NULL;
CREATE INDEX ix_user_refs_user ON user_refs (to_user) WHERE to_user IS NOT NULL;
