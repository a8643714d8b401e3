-- The tables of the first release, the same as PostgreSQL's but for the types: ids are text, times are text in UTC, and
-- files_written and reload_results hold JSON.
-- +goose Up
CREATE TABLE tenants (
    id         text PRIMARY KEY,
    name       varchar(255) NOT NULL,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE users (
    id         text PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name       varchar(255) NOT NULL,
    email      varchar(255) NOT NULL UNIQUE,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE extensions (
    id         text PRIMARY KEY,
    number     integer NOT NULL UNIQUE CHECK (number BETWEEN 1000 AND 1999),
    user_id    text NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    secret     varchar(255) NOT NULL,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE apply_audit_logs (
    id             text PRIMARY KEY,
    triggered_at   timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    triggered_by   varchar(255) NOT NULL,
    outcome        varchar(50) NOT NULL CHECK (outcome IN ('success', 'failure')),
    error_details  text,
    files_written  text,
    reload_results text
);

CREATE INDEX ix_apply_audit_logs_triggered_at ON apply_audit_logs (triggered_at);
CREATE INDEX ix_users_email_lower ON users (lower(email));
CREATE INDEX ix_users_tenant_id ON users (tenant_id);

INSERT INTO tenants (id, name) VALUES ('a0000000-0000-0000-0000-000000000000', 'Default');
