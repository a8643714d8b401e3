-- Which person of an OpenID provider an account belongs to, whether a session still owes its account's second factor, and which steps of a
-- second factor are used up: a clock that is put back brings none of them again.
-- +goose Up
ALTER TABLE accounts ADD COLUMN oidc_issuer text NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN oidc_subject varchar(255) NOT NULL DEFAULT ''; -- '': nobody signed in with a provider yet
CREATE UNIQUE INDEX ux_accounts_oidc ON accounts (oidc_issuer, oidc_subject) WHERE oidc_subject <> '';

ALTER TABLE sessions ADD COLUMN owes_factor boolean NOT NULL DEFAULT false;

CREATE TABLE totp_steps (
    account_id uuid NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    step       bigint NOT NULL,
    PRIMARY KEY (account_id, step)
);
INSERT INTO totp_steps (account_id, step) SELECT id, totp_step FROM accounts WHERE totp_step > 0;
