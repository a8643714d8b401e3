-- Where a second factor is demanded, a session that an OpenID provider opened has it from there.
-- +goose Up
ALTER TABLE sessions ADD COLUMN vouched boolean NOT NULL DEFAULT false;
