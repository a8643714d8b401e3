-- Extensions have numbers from 10 to 999999; before it was the pool, 1000 to 1999. SQLite cannot change a CHECK: the table is created again with its
-- rows and their hashes. It keeps its name throughout, as the triggers of users refer to it. Migrations run without foreign keys, so that a row
-- whose user another program has removed is kept as well.
-- +goose Up
CREATE TABLE extensions_before AS SELECT * FROM extensions;
DROP TABLE extensions;
CREATE TABLE extensions (
    id         text PRIMARY KEY,
    number     integer NOT NULL UNIQUE CHECK (number BETWEEN 10 AND 999999),
    user_id    text NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    secret     varchar(255) NOT NULL,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    row_hash   integer
);
INSERT INTO extensions (id, number, user_id, secret, created_at, row_hash)
SELECT id, number, user_id, secret, created_at, row_hash FROM extensions_before;
DROP TABLE extensions_before;

-- The triggers of the table went with it. They are those of 0006 and 0015, created when the rows are in: no user has changed.
-- +goose StatementBegin
CREATE TRIGGER users_changed_in AFTER INSERT ON extensions
BEGIN
    UPDATE users_version SET version = hex(randomblob(16));
END;
-- +goose StatementEnd

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

-- +goose StatementBegin
CREATE TRIGGER users_changed_out AFTER DELETE ON extensions
BEGIN
    UPDATE users_version SET version = hex(randomblob(16)), covered = covered - (OLD.row_hash IS NOT NULL);
END;
-- +goose StatementEnd
