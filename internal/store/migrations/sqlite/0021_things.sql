-- Things besides users, such as ring groups; who has each number that can be dialled; and users that are disabled, or have no address.
-- +goose Up
ALTER TABLE users ALTER COLUMN email DROP NOT NULL;
ALTER TABLE users ADD COLUMN enabled boolean NOT NULL DEFAULT true;

-- As in 0020, and with the new column.
DROP TRIGGER users_altered;
-- +goose StatementBegin
CREATE TRIGGER users_altered AFTER UPDATE ON users
WHEN (NEW.id, NEW.tenant_id, NEW.name, NEW.email, NEW.enabled, NEW.created_at) IS NOT (OLD.id, OLD.tenant_id, OLD.name, OLD.email, OLD.enabled, OLD.created_at)
BEGIN
    UPDATE extensions SET row_hash = NULL WHERE user_id IN (OLD.id, NEW.id) AND row_hash IS NOT NULL;
    UPDATE users SET version = OLD.version + 1 WHERE id = NEW.id AND version <= OLD.version;
    UPDATE users SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE id = NEW.id AND updated_at IS OLD.updated_at;
END;
-- +goose StatementEnd

-- Only the portal writes things. The hash covers all other columns; NULL where another program changed the row.
CREATE TABLE things (
    id         text PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    kind       varchar(40) NOT NULL,
    short      integer NOT NULL,   -- the number in its key in the files, 17 in g17; never used again
    name       varchar(255) NOT NULL,
    name_key   text NOT NULL,      -- the name as it is compared
    body       text NOT NULL,      -- JSON, without secrets
    version    bigint NOT NULL,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    row_hash   bigint,
    UNIQUE (tenant_id, kind, name_key),
    UNIQUE (tenant_id, kind, short)
);

CREATE TABLE thing_counters (
    tenant_id text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    kind      varchar(40) NOT NULL,
    last      integer NOT NULL,    -- the highest short number that was ever used
    PRIMARY KEY (tenant_id, kind)
);

-- What the bodies of things refer to, so that nothing is removed that is still referred to.
CREATE TABLE thing_refs (
    from_id  text NOT NULL REFERENCES things (id) ON DELETE CASCADE,
    field    varchar(60) NOT NULL,
    ordinal  integer NOT NULL,
    to_thing text REFERENCES things (id),
    to_user  text REFERENCES users (id),
    PRIMARY KEY (from_id, field, ordinal),
    CHECK ((to_thing IS NULL) <> (to_user IS NULL))
);
CREATE INDEX ix_thing_refs_thing ON thing_refs (to_thing) WHERE to_thing IS NOT NULL;
CREATE INDEX ix_thing_refs_user ON thing_refs (to_user) WHERE to_user IS NOT NULL;

-- For a program that has not told SQLite to mind foreign keys.
-- +goose StatementBegin
CREATE TRIGGER users_referred_to BEFORE DELETE ON users WHEN EXISTS (SELECT 1 FROM thing_refs WHERE to_user = OLD.id)
BEGIN
    SELECT RAISE(ABORT, 'a ring group or another thing of the portal refers to this user: remove the user there first');
END;
-- +goose StatementEnd

-- Every number that can be dialled has one owner. The rows of users follow from extensions, whatever program writes them.
CREATE TABLE numbers (
    number    varchar(32) NOT NULL,
    tenant_id text NOT NULL,
    user_id   text,
    thing_id  text REFERENCES things (id) ON DELETE CASCADE,
    PRIMARY KEY (number, tenant_id),
    CHECK ((user_id IS NULL) <> (thing_id IS NULL))
) WITHOUT ROWID;
CREATE INDEX ix_numbers_thing ON numbers (thing_id) WHERE thing_id IS NOT NULL;
INSERT INTO numbers (number, tenant_id, user_id)
SELECT CAST(e.number AS text), u.tenant_id, u.id FROM extensions e JOIN users u ON u.id = e.user_id;

-- +goose StatementBegin
CREATE TRIGGER numbers_in AFTER INSERT ON extensions
BEGIN
    INSERT INTO numbers (number, tenant_id, user_id) SELECT CAST(NEW.number AS text), tenant_id, id FROM users WHERE id = NEW.user_id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER numbers_changed AFTER UPDATE OF number, user_id ON extensions WHEN NEW.number <> OLD.number OR NEW.user_id <> OLD.user_id
BEGIN
    DELETE FROM numbers WHERE number = CAST(OLD.number AS text) AND user_id = OLD.user_id;
    INSERT INTO numbers (number, tenant_id, user_id) SELECT CAST(NEW.number AS text), tenant_id, id FROM users WHERE id = NEW.user_id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER numbers_out AFTER DELETE ON extensions
BEGIN
    DELETE FROM numbers WHERE number = CAST(OLD.number AS text) AND user_id = OLD.user_id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER numbers_moved AFTER UPDATE OF tenant_id ON users WHEN NEW.tenant_id <> OLD.tenant_id
BEGIN
    UPDATE numbers SET tenant_id = NEW.tenant_id
    WHERE user_id = NEW.id AND number = (SELECT CAST(number AS text) FROM extensions WHERE user_id = NEW.id);
END;
-- +goose StatementEnd

-- A mark that is another one after each change of things, as that of users_version; and how many things have a hash.
CREATE TABLE things_version (
    one     integer PRIMARY KEY DEFAULT 1 CHECK (one = 1),   -- there is one row
    version text NOT NULL,
    covered integer NOT NULL DEFAULT 0
);
INSERT INTO things_version (version) VALUES (hex(randomblob(16)));

-- +goose StatementBegin
CREATE TRIGGER things_in AFTER INSERT ON things
BEGIN
    UPDATE things_version SET version = hex(randomblob(16)), covered = covered + (NEW.row_hash IS NOT NULL);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER things_changed AFTER UPDATE ON things
BEGIN
    UPDATE things_version SET version = hex(randomblob(16)), covered = covered + (NEW.row_hash IS NOT NULL) - (OLD.row_hash IS NOT NULL);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER things_uncovered AFTER UPDATE ON things WHEN NEW.row_hash = OLD.row_hash
BEGIN
    UPDATE things SET row_hash = NULL, version = OLD.version + 1 WHERE rowid = NEW.rowid;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER things_out AFTER DELETE ON things
BEGIN
    UPDATE things_version SET version = hex(randomblob(16)), covered = covered - (OLD.row_hash IS NOT NULL);
END;
-- +goose StatementEnd
