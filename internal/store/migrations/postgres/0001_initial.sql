-- The tables of the first release. They are also those of the Python portal that came before: every statement leaves what is
-- there as it is, so its database is adopted in place.
-- +goose Up
CREATE TABLE IF NOT EXISTS tenants (
    id         uuid PRIMARY KEY,
    name       varchar(255) NOT NULL,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS users (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name       varchar(255) NOT NULL,
    email      varchar(255) NOT NULL UNIQUE,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS extensions (
    id         uuid PRIMARY KEY,
    number     integer NOT NULL UNIQUE CHECK (number BETWEEN 1000 AND 1999),
    user_id    uuid NOT NULL UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    secret     varchar(255) NOT NULL,
    created_at timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);

CREATE TABLE IF NOT EXISTS apply_audit_logs (
    id             uuid PRIMARY KEY,
    triggered_at   timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    triggered_by   varchar(255) NOT NULL,
    outcome        varchar(50) NOT NULL CHECK (outcome IN ('success', 'failure')),
    error_details  text,
    files_written  text[],
    reload_results jsonb
);

CREATE INDEX IF NOT EXISTS ix_apply_audit_logs_triggered_at ON apply_audit_logs (triggered_at);

-- Not unique, and on purpose: an adopted database may hold two addresses that differ in case alone. New ones are compared without
-- regard to case while the writers' lock is held.
CREATE INDEX IF NOT EXISTS ix_users_email_lower ON users (lower(email));

INSERT INTO tenants (id, name, created_at)
VALUES ('a0000000-0000-0000-0000-000000000000', 'Default', now() AT TIME ZONE 'UTC')
ON CONFLICT (id) DO NOTHING;
