-- Requests with an Idempotency-Key, each recorded in the transaction of its change, so that a repeated one changes nothing again. A row is kept for 24 hours.
-- +goose Up
CREATE TABLE idempotency_keys (
    caller      varchar(80) NOT NULL,   -- the kind and the id of the account or token
    request_key varchar(255) NOT NULL,
    request     varchar(64) NOT NULL,   -- SHA-256 of the request in hex
    object_type varchar(40) NOT NULL,   -- what the request changed, as in its first audit event; '' if nothing
    object_id   varchar(255) NOT NULL,
    answer      blob,                   -- the response, sealed; null until it is known
    created_at  timestamp NOT NULL,
    PRIMARY KEY (caller, request_key)
);
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);
