-- The settings of the calls of users, and what they refer to.
-- +goose Up
ALTER TABLE users ADD COLUMN calls text NOT NULL DEFAULT ''; -- JSON; '': everything is inherited

-- As in 0021, and with the new column.
DROP TRIGGER users_altered;
-- +goose StatementBegin
CREATE TRIGGER users_altered AFTER UPDATE ON users
WHEN (NEW.id, NEW.tenant_id, NEW.name, NEW.email, NEW.enabled, NEW.calls, NEW.created_at)
    IS NOT (OLD.id, OLD.tenant_id, OLD.name, OLD.email, OLD.enabled, OLD.calls, OLD.created_at)
BEGIN
    UPDATE extensions SET row_hash = NULL WHERE user_id IN (OLD.id, NEW.id) AND row_hash IS NOT NULL;
    UPDATE users SET version = OLD.version + 1 WHERE id = NEW.id AND version <= OLD.version;
    UPDATE users SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = NEW.id AND updated_at IS OLD.updated_at;
END;
-- +goose StatementEnd

CREATE TABLE user_refs (
    from_user text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    field     varchar(60) NOT NULL,
    to_thing  text REFERENCES things (id),
    to_user   text REFERENCES users (id),
    PRIMARY KEY (from_user, field),
    CHECK ((to_thing IS NULL) <> (to_user IS NULL))
);
CREATE INDEX ix_user_refs_thing ON user_refs (to_thing) WHERE to_thing IS NOT NULL;
CREATE INDEX ix_user_refs_user ON user_refs (to_user) WHERE to_user IS NOT NULL;

-- For a program that has not told SQLite to mind foreign keys.
-- +goose StatementBegin
CREATE TRIGGER users_referred_to_by_users BEFORE DELETE ON users WHEN EXISTS (SELECT 1 FROM user_refs WHERE to_user = OLD.id AND from_user <> OLD.id)
BEGIN
    SELECT RAISE(ABORT, 'calls to another user go on to this user: change the settings of that user first');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER users_refer_no_more AFTER DELETE ON users
BEGIN
    DELETE FROM user_refs WHERE from_user = OLD.id;
END;
-- +goose StatementEnd
