-- With which token a token was made: it is revoked with it.
-- +goose Up
ALTER TABLE api_tokens ADD COLUMN made_with varchar(50); -- an id of this table; null: a person, or the command line, made it
