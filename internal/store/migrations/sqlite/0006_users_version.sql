-- A mark that becomes another one with every change of what a list of users shows, whoever makes it: who remembers a list and its mark
-- needs one short question to know that it still holds. The marks are random, so that none comes back with an old copy of the database.
-- +goose Up
CREATE TABLE users_version (
    one     integer PRIMARY KEY DEFAULT 1 CHECK (one = 1),   -- there is one row
    version text NOT NULL
);
INSERT INTO users_version (version) VALUES (hex(randomblob(16)));

-- +goose StatementBegin
CREATE TRIGGER users_changed_user AFTER UPDATE ON users
BEGIN
    UPDATE users_version SET version = hex(randomblob(16));
END;
-- +goose StatementEnd

-- The extension goes along, but not where another program has not told SQLite to mind foreign keys.
-- +goose StatementBegin
CREATE TRIGGER users_changed_user_out AFTER DELETE ON users
BEGIN
    UPDATE users_version SET version = hex(randomblob(16));
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER users_changed_in AFTER INSERT ON extensions
BEGIN
    UPDATE users_version SET version = hex(randomblob(16));
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER users_changed AFTER UPDATE ON extensions
BEGIN
    UPDATE users_version SET version = hex(randomblob(16));
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER users_changed_out AFTER DELETE ON extensions
BEGIN
    UPDATE users_version SET version = hex(randomblob(16));
END;
-- +goose StatementEnd
