-- A hash of each user with the extension, computed by the program over all their columns and compared whenever they are read: it shows what the
-- disk changed. NULL where another program wrote the row. How many have one is counted, for damage can also hide rows, or the hash.
-- +goose Up
ALTER TABLE extensions ADD COLUMN row_hash integer;
ALTER TABLE users_version ADD COLUMN covered integer NOT NULL DEFAULT 0;

-- What the program inserts it adds to covered itself. All else is counted here: what another program changes is no longer covered.
DROP TRIGGER users_changed_user;
-- +goose StatementBegin
CREATE TRIGGER users_changed_user AFTER UPDATE ON users
BEGIN
    UPDATE users_version SET version = hex(randomblob(16));
    UPDATE extensions SET row_hash = NULL WHERE user_id IN (OLD.id, NEW.id) AND row_hash IS NOT NULL;
END;
-- +goose StatementEnd

DROP TRIGGER users_changed_user_out;
-- +goose StatementBegin
CREATE TRIGGER users_changed_user_out AFTER DELETE ON users
BEGIN
    UPDATE users_version SET version = hex(randomblob(16));
    UPDATE extensions SET row_hash = NULL WHERE user_id = OLD.id AND row_hash IS NOT NULL;
END;
-- +goose StatementEnd

DROP TRIGGER users_changed;
-- +goose StatementBegin
CREATE TRIGGER users_changed AFTER UPDATE ON extensions
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), covered = covered + (NEW.row_hash IS NOT NULL) - (OLD.row_hash IS NOT NULL);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER users_uncovered AFTER UPDATE ON extensions WHEN NEW.row_hash = OLD.row_hash
BEGIN
    UPDATE extensions SET row_hash = NULL WHERE rowid = NEW.rowid;
END;
-- +goose StatementEnd

DROP TRIGGER users_changed_out;
-- +goose StatementBegin
CREATE TRIGGER users_changed_out AFTER DELETE ON extensions
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), covered = covered - (OLD.row_hash IS NOT NULL);
END;
-- +goose StatementEnd
