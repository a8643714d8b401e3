-- Which user is the person of an account. A table of its own: no change of users, whatever program makes it, reaches the accounts.
-- +goose Up
CREATE TABLE account_users (
    account_id uuid PRIMARY KEY REFERENCES accounts (id) ON DELETE CASCADE,
    user_id    uuid NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE
);
