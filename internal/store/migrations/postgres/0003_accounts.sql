-- Who may sign in, and with what. Nothing here lets anybody in by itself: passwords are stored as argon2id, all other proofs as the
-- SHA-256 of random bits, and the second factor sealed with a key that is kept elsewhere. Accounts belong to the installation.
-- +goose Up
CREATE TABLE accounts (
    id            uuid PRIMARY KEY,
    name          varchar(255) NOT NULL,
    email         varchar(255) NOT NULL,
    role          varchar(50) NOT NULL,            -- pbx.Role
    disabled      boolean NOT NULL DEFAULT false,
    password_hash varchar(255) NOT NULL DEFAULT '', -- '': nobody signs in with it before its link was followed
    totp_secret   text NOT NULL DEFAULT '',        -- sealed; '': none
    totp_on       boolean NOT NULL DEFAULT false,  -- false with a secret: it waits to be confirmed
    totp_step     bigint NOT NULL DEFAULT 0,       -- of the last code that was used: it, and earlier ones, are used up
    created_at    timestamp NOT NULL,
    last_sign_in  timestamp
);
CREATE UNIQUE INDEX ux_accounts_email_lower ON accounts (lower(email));

CREATE TABLE recovery_codes (
    account_id uuid NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash       bytea NOT NULL,
    PRIMARY KEY (account_id, hash)
);

CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    hash         bytea NOT NULL UNIQUE,
    account_id   uuid NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    created_at   timestamp NOT NULL,
    last_seen_at timestamp NOT NULL,
    expires_at   timestamp NOT NULL,
    from_address varchar(255) NOT NULL,
    user_agent   varchar(255) NOT NULL
);
CREATE INDEX ix_sessions_account_id ON sessions (account_id);

CREATE TABLE one_time_codes (
    hash       bytea PRIMARY KEY,
    purpose    varchar(50) NOT NULL,               -- pbx.LinkPurpose
    account_id uuid REFERENCES accounts (id) ON DELETE CASCADE, -- null: there is none yet
    created_at timestamp NOT NULL,
    expires_at timestamp NOT NULL
);
CREATE INDEX ix_one_time_codes_account_id ON one_time_codes (account_id);

-- A token outlives the account that made it only on purpose: the rules are in package auth, so there is no reference.
CREATE TABLE api_tokens (
    id           varchar(50) PRIMARY KEY,
    hash         bytea NOT NULL,
    name         varchar(255) NOT NULL,
    role         varchar(50) NOT NULL,             -- pbx.Role
    scopes       varchar(500) NOT NULL DEFAULT '', -- pbx.Permission, with spaces between; '': all of the role
    created_at   timestamp NOT NULL,
    created_by   uuid,                             -- an account; null: at the command line
    expires_at   timestamp,
    last_used_at timestamp,
    revoked_at   timestamp
);
