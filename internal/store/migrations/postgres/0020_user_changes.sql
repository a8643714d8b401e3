-- Each user has a version, raised with every change that a reader of the user sees, and the time of the last one (NULL: none since this migration).
-- Each change of what a list of users shows is recorded, so that a cached list is brought up to date by reading the changed users alone.
-- +goose Up
ALTER TABLE users ADD COLUMN version bigint NOT NULL DEFAULT 1, ADD COLUMN updated_at timestamp;

-- The last 1024 changes, each in the slot of its number: the version that users_version had after it, and the user. Half of each page is free, so that
-- a row is updated within its page.
CREATE TABLE user_changes (
    slot    integer PRIMARY KEY,
    change  bigint,
    version uuid,
    user_id uuid
) WITH (fillfactor = 50);
INSERT INTO user_changes (slot) SELECT generate_series(0, 1023);

ALTER TABLE users_version ADD COLUMN changes bigint NOT NULL DEFAULT 0; -- the number of the last change

-- Numbers are in the order of commits: the row of users_version is locked from the first change of a transaction to its end.
-- +goose StatementBegin
CREATE FUNCTION user_changed(id uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    mark uuid := gen_random_uuid();
    number bigint;
BEGIN
    UPDATE users_version SET version = mark, changes = changes + 1 RETURNING changes INTO number;
    UPDATE user_changes SET change = number, version = mark, user_id = id WHERE slot = number % 1024;
END $$;
-- +goose StatementEnd

-- Before the change, so that of two that write at once one waits here, and not the first for the second elsewhere. An insertion holds no lock that
-- another could wait for before its trigger for the row. After TRUNCATE there is no record of this number: everything is read again.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        UPDATE users_version SET version = gen_random_uuid(), changes = changes + 1;
    ELSE
        PERFORM 1 FROM users_version FOR UPDATE;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- With the rights of their owner: another program on the same tables may have none on these.
-- +goose StatementBegin
CREATE FUNCTION users_recorded() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        PERFORM user_changed(NEW.id);
        IF NEW.id <> OLD.id THEN
            PERFORM user_changed(OLD.id);
        END IF;
        RETURN NULL;
    END IF;
    CASE TG_OP
    WHEN 'INSERT' THEN
        PERFORM user_changed(NEW.user_id);
        RETURN NEW;
    WHEN 'DELETE' THEN
        PERFORM user_changed(OLD.user_id);
    ELSE
        PERFORM user_changed(NEW.user_id);
        IF NEW.user_id <> OLD.user_id THEN
            PERFORM user_changed(OLD.user_id);
        END IF;
    END CASE;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- The columns of these functions are not in the conditions of the triggers, where they would keep an administrator from altering their types. The hash
-- covers the columns compared here, but neither version nor updated_at, which the program may change alone.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION users_uncovered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        IF (NEW.id, NEW.tenant_id, NEW.name, NEW.email, NEW.created_at) IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.name, OLD.email, OLD.created_at) THEN
            UPDATE extensions SET row_hash = NULL WHERE user_id IN (OLD.id, NEW.id) AND row_hash IS NOT NULL;
        END IF;
        RETURN NULL;
    END IF;
    NEW.row_hash := NULL;
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION users_altered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        IF (NEW.id, NEW.tenant_id, NEW.name, NEW.email, NEW.created_at) IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.name, OLD.email, OLD.created_at) THEN
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

DROP TRIGGER users_changed ON extensions;
CREATE TRIGGER users_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON extensions FOR EACH STATEMENT EXECUTE FUNCTION users_changed();
CREATE TRIGGER users_recorded_in BEFORE INSERT ON extensions FOR EACH ROW EXECUTE FUNCTION users_recorded();
CREATE TRIGGER users_recorded AFTER UPDATE OR DELETE ON extensions FOR EACH ROW EXECUTE FUNCTION users_recorded();
CREATE TRIGGER users_recorded AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION users_recorded();
CREATE TRIGGER users_altered BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION users_altered();

-- An extension changed by another program raises the version of its user. The program, which writes a new hash, does so itself where a reader sees
-- the change: a secret that is encrypted with another key is the same secret.
CREATE TRIGGER users_altered AFTER UPDATE ON extensions FOR EACH ROW WHEN (NEW.row_hash IS NULL) EXECUTE FUNCTION users_altered();
CREATE TRIGGER users_altered_out AFTER DELETE ON extensions FOR EACH ROW EXECUTE FUNCTION users_altered();

ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_changed;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_recorded_in;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_recorded;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_altered;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_altered_out;
ALTER TABLE users ENABLE ALWAYS TRIGGER users_recorded;
ALTER TABLE users ENABLE ALWAYS TRIGGER users_altered;
