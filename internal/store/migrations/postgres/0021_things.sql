-- Things besides users, such as ring groups; who has each number that can be dialled; and users that are disabled, or have no address.
-- +goose Up
ALTER TABLE users ALTER COLUMN email DROP NOT NULL;
ALTER TABLE users ADD COLUMN enabled boolean NOT NULL DEFAULT true;

-- As in 0020, and with the new column.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_uncovered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        IF (NEW.id, NEW.tenant_id, NEW.name, NEW.email, NEW.enabled, NEW.created_at)
            IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.name, OLD.email, OLD.enabled, OLD.created_at) THEN
            UPDATE extensions SET row_hash = NULL WHERE user_id IN (OLD.id, NEW.id) AND row_hash IS NOT NULL;
        END IF;
        RETURN NULL;
    END IF;
    NEW.row_hash := NULL;
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_altered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        IF (NEW.id, NEW.tenant_id, NEW.name, NEW.email, NEW.enabled, NEW.created_at)
            IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.name, OLD.email, OLD.enabled, OLD.created_at) THEN
            NEW.version := greatest(NEW.version, OLD.version + 1);
            IF NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
                NEW.updated_at := now() AT TIME ZONE 'UTC';
            END IF;
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' THEN
        UPDATE users SET version = version + 1, updated_at = now() AT TIME ZONE 'UTC' WHERE id = OLD.user_id;
    ELSIF (NEW.id, NEW.number, NEW.user_id, NEW.secret, NEW.created_at) IS DISTINCT FROM (OLD.id, OLD.number, OLD.user_id, OLD.secret, OLD.created_at) THEN
        UPDATE users SET version = version + 1, updated_at = now() AT TIME ZONE 'UTC' WHERE id IN (OLD.user_id, NEW.user_id);
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- Only the portal writes things. The hash covers all other columns; NULL where another program changed the row.
CREATE TABLE things (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    kind       varchar(40) COLLATE "C" NOT NULL,
    short      integer NOT NULL,                -- the number in its key in the files, 17 in g17; never used again
    name       varchar(255) COLLATE "C" NOT NULL,
    name_key   text COLLATE "C" NOT NULL,       -- the name as it is compared
    body       text COLLATE "C" NOT NULL,       -- JSON, without secrets
    version    bigint NOT NULL,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    row_hash   bigint,
    UNIQUE (tenant_id, kind, name_key),
    UNIQUE (tenant_id, kind, short)
);

CREATE TABLE thing_counters (
    tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    kind      varchar(40) COLLATE "C" NOT NULL,
    last      integer NOT NULL,                 -- the highest short number that was ever used
    PRIMARY KEY (tenant_id, kind)
);

-- What the bodies of things refer to, so that nothing is removed that is still referred to.
CREATE TABLE thing_refs (
    from_id  uuid NOT NULL REFERENCES things (id) ON DELETE CASCADE,
    field    varchar(60) COLLATE "C" NOT NULL,
    ordinal  integer NOT NULL,
    to_thing uuid REFERENCES things (id),
    to_user  uuid REFERENCES users (id),
    PRIMARY KEY (from_id, field, ordinal),
    CHECK ((to_thing IS NULL) <> (to_user IS NULL))
);
CREATE INDEX ix_thing_refs_thing ON thing_refs (to_thing) WHERE to_thing IS NOT NULL;
CREATE INDEX ix_thing_refs_user ON thing_refs (to_user) WHERE to_user IS NOT NULL;

-- Every number that can be dialled has one owner. The rows of users follow from extensions, whatever program writes them.
CREATE TABLE numbers (
    number    varchar(32) COLLATE "C" NOT NULL,
    tenant_id uuid NOT NULL,
    user_id   uuid,
    thing_id  uuid REFERENCES things (id) ON DELETE CASCADE,
    PRIMARY KEY (number, tenant_id),
    CHECK ((user_id IS NULL) <> (thing_id IS NULL))
);
CREATE INDEX ix_numbers_thing ON numbers (thing_id) WHERE thing_id IS NOT NULL;
INSERT INTO numbers (number, tenant_id, user_id)
SELECT e.number, u.tenant_id, u.id FROM extensions e JOIN users u ON u.id = e.user_id;

-- With the rights of its owner: another program on the same tables may have none on this one.
-- +goose StatementBegin
CREATE FUNCTION numbers_follow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM numbers WHERE user_id IS NOT NULL;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM numbers WHERE number = OLD.number::varchar AND user_id = OLD.user_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO numbers (number, tenant_id, user_id) SELECT NEW.number, tenant_id, id FROM users WHERE id = NEW.user_id;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION numbers_move() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE numbers SET tenant_id = NEW.tenant_id
    WHERE user_id = NEW.id AND number = (SELECT e.number::varchar FROM extensions e WHERE e.user_id = NEW.id);
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER numbers_in AFTER INSERT OR DELETE ON extensions FOR EACH ROW EXECUTE FUNCTION numbers_follow();
CREATE TRIGGER numbers_changed AFTER UPDATE ON extensions FOR EACH ROW
    WHEN (NEW.number <> OLD.number OR NEW.user_id <> OLD.user_id) EXECUTE FUNCTION numbers_follow();
CREATE TRIGGER numbers_none AFTER TRUNCATE ON extensions FOR EACH STATEMENT EXECUTE FUNCTION numbers_follow();
CREATE TRIGGER numbers_moved AFTER UPDATE ON users FOR EACH ROW WHEN (NEW.tenant_id <> OLD.tenant_id) EXECUTE FUNCTION numbers_move();
ALTER TABLE extensions ENABLE ALWAYS TRIGGER numbers_in;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER numbers_changed;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER numbers_none;
ALTER TABLE users ENABLE ALWAYS TRIGGER numbers_moved;

-- A mark that is another one after each change of things, as that of users_version; and how many things have a hash.
CREATE TABLE things_version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),   -- there is one row
    version uuid NOT NULL,
    covered bigint NOT NULL DEFAULT 0
);
INSERT INTO things_version (version) VALUES (gen_random_uuid());

-- +goose StatementBegin
CREATE FUNCTION things_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE things_version SET version = gen_random_uuid(), covered = CASE TG_OP
        WHEN 'TRUNCATE' THEN 0
        WHEN 'INSERT' THEN covered + (NEW.row_hash IS NOT NULL)::int
        WHEN 'DELETE' THEN covered - (OLD.row_hash IS NOT NULL)::int
        ELSE covered + (NEW.row_hash IS NOT NULL)::int - (OLD.row_hash IS NOT NULL)::int END;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION things_uncovered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.row_hash := NULL;
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;
-- +goose StatementEnd

CREATE TRIGGER things_uncovered BEFORE UPDATE ON things FOR EACH ROW WHEN (NEW.row_hash = OLD.row_hash) EXECUTE FUNCTION things_uncovered();
CREATE TRIGGER things_changed AFTER INSERT OR UPDATE OR DELETE ON things FOR EACH ROW EXECUTE FUNCTION things_changed();
CREATE TRIGGER things_changed_none AFTER TRUNCATE ON things FOR EACH STATEMENT EXECUTE FUNCTION things_changed();
ALTER TABLE things ENABLE ALWAYS TRIGGER things_uncovered;
ALTER TABLE things ENABLE ALWAYS TRIGGER things_changed;
ALTER TABLE things ENABLE ALWAYS TRIGGER things_changed_none;
