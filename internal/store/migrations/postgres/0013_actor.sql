-- Who was proved to ask for an apply, beside triggered_by, which is what the request says; '' in records that are older.
-- +goose Up
ALTER TABLE apply_runs ADD COLUMN actor_kind varchar(50) NOT NULL DEFAULT ''; -- pbx.ActorKind
ALTER TABLE apply_runs ADD COLUMN actor_id varchar(64) NOT NULL DEFAULT '';   -- of an account or a token
ALTER TABLE apply_runs ADD COLUMN actor_name text NOT NULL DEFAULT '';

-- Lists of tokens and accounts are read a page at a time, in this order.
CREATE INDEX ix_api_tokens_name ON api_tokens (lower(name), created_at, id);
CREATE INDEX ix_api_tokens_created_by ON api_tokens (created_by);
CREATE INDEX ix_accounts_name ON accounts (lower(name), lower(email));
