-- Each user has a version, raised with every change that a reader of the user sees, and the time of the last one (NULL: none since this migration).
-- Each change of what a list of users shows is recorded, so that a cached list is brought up to date by reading the changed users alone.
-- +goose Up
ALTER TABLE users ADD COLUMN version bigint NOT NULL DEFAULT 1;
ALTER TABLE users ADD COLUMN updated_at timestamp;

-- The last 1024 changes, each in the slot of its number: the version that users_version had after it, and the user. The rows exist from the start and
-- are updated, because an update cannot conflict: a statement such as INSERT OR IGNORE would impose its handling of conflicts on the triggers.
CREATE TABLE user_changes (
    slot    integer PRIMARY KEY,
    change  bigint,
    version text,
    user_id text
);
WITH RECURSIVE slots (slot) AS (SELECT 0 UNION ALL SELECT slot + 1 FROM slots WHERE slot < 1023)
INSERT INTO user_changes (slot) SELECT slot FROM slots;

ALTER TABLE users_version ADD COLUMN changes bigint NOT NULL DEFAULT 0; -- the number of the last change
ALTER TABLE users_version ADD COLUMN changed text;                      -- the user of the last change

-- +goose StatementBegin
CREATE TRIGGER user_changes_recorded AFTER UPDATE OF changes ON users_version
BEGIN
    UPDATE user_changes SET change = NEW.changes, version = NEW.version, user_id = NEW.changed WHERE slot = NEW.changes % 1024;
END;
-- +goose StatementEnd

-- A user whose extension exists already, which only a program without foreign keys can insert.
-- +goose StatementBegin
CREATE TRIGGER users_changed_user_in AFTER INSERT ON users WHEN EXISTS (SELECT 1 FROM extensions WHERE user_id = NEW.id)
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), changes = changes + 1, changed = NEW.id;
END;
-- +goose StatementEnd

DROP TRIGGER users_changed_user;
-- +goose StatementBegin
CREATE TRIGGER users_changed_user AFTER UPDATE ON users
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), changes = changes + 1, changed = NEW.id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER users_changed_user_id AFTER UPDATE ON users WHEN NEW.id IS NOT OLD.id
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), changes = changes + 1, changed = OLD.id;
END;
-- +goose StatementEnd

-- The hash covers these columns, but neither version nor updated_at, which the program may change alone.
-- +goose StatementBegin
CREATE TRIGGER users_altered AFTER UPDATE ON users
WHEN (NEW.id, NEW.tenant_id, NEW.name, NEW.email, NEW.created_at) IS NOT (OLD.id, OLD.tenant_id, OLD.name, OLD.email, OLD.created_at)
BEGIN
    UPDATE extensions SET row_hash = NULL WHERE user_id IN (OLD.id, NEW.id) AND row_hash IS NOT NULL;
    UPDATE users SET version = OLD.version + 1 WHERE id = NEW.id AND version <= OLD.version;
    UPDATE users SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = NEW.id AND updated_at IS OLD.updated_at;
END;
-- +goose StatementEnd

DROP TRIGGER users_changed_user_out;
-- +goose StatementBegin
CREATE TRIGGER users_changed_user_out AFTER DELETE ON users
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), changes = changes + 1, changed = OLD.id;
    UPDATE extensions SET row_hash = NULL WHERE user_id = OLD.id AND row_hash IS NOT NULL;
END;
-- +goose StatementEnd

DROP TRIGGER users_changed_in;
-- +goose StatementBegin
CREATE TRIGGER users_changed_in AFTER INSERT ON extensions
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), changes = changes + 1, changed = NEW.user_id;
END;
-- +goose StatementEnd

DROP TRIGGER users_changed;
-- +goose StatementBegin
CREATE TRIGGER users_changed AFTER UPDATE ON extensions
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), changes = changes + 1, changed = NEW.user_id,
        covered = covered + (NEW.row_hash IS NOT NULL) - (OLD.row_hash IS NOT NULL);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER users_changed_owner AFTER UPDATE ON extensions WHEN NEW.user_id IS NOT OLD.user_id
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), changes = changes + 1, changed = OLD.user_id;
END;
-- +goose StatementEnd

-- An extension changed by another program raises the version of its user. The program, which writes a new hash, does so itself where a reader sees
-- the change: a secret that is encrypted with another key is the same secret.
-- +goose StatementBegin
CREATE TRIGGER users_altered_extension AFTER UPDATE ON extensions
WHEN (NEW.row_hash IS NULL OR NEW.row_hash IS OLD.row_hash)
    AND (NEW.id, NEW.number, NEW.user_id, NEW.secret, NEW.created_at) IS NOT (OLD.id, OLD.number, OLD.user_id, OLD.secret, OLD.created_at)
BEGIN
    UPDATE users SET version = version + 1, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id IN (OLD.user_id, NEW.user_id);
END;
-- +goose StatementEnd

DROP TRIGGER users_changed_out;
-- +goose StatementBegin
CREATE TRIGGER users_changed_out AFTER DELETE ON extensions
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), changes = changes + 1, changed = OLD.user_id, covered = covered - (OLD.row_hash IS NOT NULL);
    UPDATE users SET version = version + 1, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = OLD.user_id;
END;
-- +goose StatementEnd
