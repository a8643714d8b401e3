-- The settings of the organisation, and the pools that numbers are assigned from: things to which no call leads. Their rows have the hash that the portal
-- writes once it runs.
-- +goose Up
INSERT INTO things (id, tenant_id, kind, short, name, name_key, body, version, created_at, updated_at)
SELECT uuid 'a0000000-0000-0000-0000-000000000001', id, 'organisation', 1, name, lower(name), '{}', 1, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
FROM tenants WHERE id = 'a0000000-0000-0000-0000-000000000000';
INSERT INTO things (id, tenant_id, kind, short, name, name_key, body, version, created_at, updated_at)
SELECT uuid 'a0000000-0000-0000-0000-000000000002', id, 'pool', 1, 'Users', 'users', '{"kind":"users","from":1000,"to":1999,"order":"lowest"}', 1, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
FROM tenants WHERE id = 'a0000000-0000-0000-0000-000000000000';
INSERT INTO things (id, tenant_id, kind, short, name, name_key, body, version, created_at, updated_at)
SELECT uuid 'a0000000-0000-0000-0000-000000000003', id, 'pool', 2, 'Features', 'features', '{"kind":"features","from":600,"to":699,"order":"lowest"}', 1, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
FROM tenants WHERE id = 'a0000000-0000-0000-0000-000000000000';
INSERT INTO thing_counters (tenant_id, kind, last) SELECT tenant_id, kind, max(short) FROM things WHERE kind IN ('organisation', 'pool') GROUP BY tenant_id, kind;

-- The last number that was assigned from a pool whose order is 'next'.
CREATE TABLE pool_marks (
    pool_id uuid PRIMARY KEY REFERENCES things (id) ON DELETE CASCADE,
    last    integer NOT NULL
);
