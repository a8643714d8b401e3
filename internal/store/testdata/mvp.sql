-- A database as the Python portal made it (pg_dump --inserts, trimmed), with rows in every table.
CREATE TABLE alembic_version (
    version_num character varying(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE tenants (
    id uuid NOT NULL,
    name character varying(255) NOT NULL,
    created_at timestamp without time zone DEFAULT now() NOT NULL,
    CONSTRAINT tenants_pkey PRIMARY KEY (id)
);
CREATE TABLE users (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    name character varying(255) NOT NULL,
    email character varying(255) NOT NULL,
    created_at timestamp without time zone DEFAULT now() NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT users_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants(id) ON DELETE CASCADE
);
CREATE TABLE extensions (
    id uuid NOT NULL,
    number integer NOT NULL,
    user_id uuid NOT NULL,
    secret character varying(255) NOT NULL,
    created_at timestamp without time zone DEFAULT now() NOT NULL,
    CONSTRAINT extensions_pkey PRIMARY KEY (id),
    CONSTRAINT extensions_number_key UNIQUE (number),
    CONSTRAINT extensions_user_id_key UNIQUE (user_id),
    CONSTRAINT extensions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE,
    CONSTRAINT ck_extension_number_range CHECK (((number >= 1000) AND (number <= 1999)))
);
CREATE TABLE apply_audit_logs (
    id uuid NOT NULL,
    triggered_at timestamp without time zone DEFAULT now() NOT NULL,
    triggered_by character varying(255) NOT NULL,
    outcome character varying(50) NOT NULL,
    error_details text,
    files_written text[],
    reload_results jsonb,
    CONSTRAINT apply_audit_logs_pkey PRIMARY KEY (id),
    CONSTRAINT ck_apply_outcome CHECK (((outcome)::text = ANY ((ARRAY['success'::character varying, 'failure'::character varying])::text[])))
);
CREATE INDEX ix_apply_audit_logs_triggered_at ON apply_audit_logs USING btree (triggered_at);

INSERT INTO alembic_version VALUES ('002');
INSERT INTO tenants VALUES ('a0000000-0000-0000-0000-000000000000', 'Default', '2025-01-02 03:04:05.678901');
INSERT INTO users VALUES ('11111111-1111-4111-8111-111111111111', 'a0000000-0000-0000-0000-000000000000', 'Anna Example', 'Anna@Example.com', '2025-02-03 04:05:06.789012');
INSERT INTO users VALUES ('22222222-2222-4222-8222-222222222222', 'a0000000-0000-0000-0000-000000000000', 'Another Anna', 'anna@example.com', '2025-02-03 04:05:07');
INSERT INTO users VALUES ('33333333-3333-4333-8333-333333333333', 'a0000000-0000-0000-0000-000000000000', 'José ; "x"', 'jose@example.com', '2025-02-03 04:05:08');
INSERT INTO extensions VALUES ('aaaaaaaa-1111-4111-8111-111111111111', 1000, '11111111-1111-4111-8111-111111111111', 'AAAAAAAAAAAAAAAAAAAAAA', '2025-02-03 04:05:06.789012');
INSERT INTO extensions VALUES ('aaaaaaaa-2222-4222-8222-222222222222', 1001, '22222222-2222-4222-8222-222222222222', 'BBBBBBBBBBBBBBBBBBBBBB', '2025-02-03 04:05:07');
INSERT INTO extensions VALUES ('aaaaaaaa-3333-4333-8333-333333333333', 1003, '33333333-3333-4333-8333-333333333333', 'old;secret', '2025-02-03 04:05:08');
INSERT INTO apply_audit_logs VALUES ('cccccccc-1111-4111-8111-111111111111', '2025-02-03 05:00:00', 'admin', 'success', NULL, '{/etc/asterisk/pjsip.d/synergycall/generated_endpoints.conf,/etc/asterisk/extensions.d/synergycall/generated_routing.conf}', '{"pjsip_reload": {"stdout": "ok", "stderr": "", "exit_code": 0}, "dialplan_reload": {"stdout": "ok", "stderr": "", "exit_code": 0}}');
INSERT INTO apply_audit_logs VALUES ('cccccccc-2222-4222-8222-222222222222', '2025-02-03 06:00:00', 'admin', 'failure', 'disk full', NULL, NULL);
