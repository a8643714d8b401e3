-- Which user is the person of an account. A table of its own: no change of users, whatever program makes it, reaches the accounts.
-- +goose Up
CREATE TABLE account_users (
    account_id text PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    user_id    text NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE
);

-- For a program that has not told SQLite to mind foreign keys.
-- +goose StatementBegin
CREATE TRIGGER account_users_out AFTER DELETE ON users
BEGIN
    DELETE FROM account_users WHERE user_id = OLD.id;
END;
-- +goose StatementEnd
