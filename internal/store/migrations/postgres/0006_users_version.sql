-- A mark that becomes another one with every change of what a list of users shows, whoever makes it: who remembers a list and its mark
-- needs one short question to know that it still holds. The marks are random, so that none comes back with an old copy of the database.
-- +goose Up
CREATE TABLE users_version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),   -- there is one row
    version uuid NOT NULL
);
INSERT INTO users_version (version) VALUES (gen_random_uuid());

-- With the rights of its owner: another program on the same tables may have none on this one.
-- +goose StatementBegin
CREATE FUNCTION users_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE users_version SET version = gen_random_uuid();
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- Before the change, so that of two who write at once one waits here, and not the first for the second elsewhere. A user who is removed
-- takes the extension along.
CREATE TRIGGER users_changed BEFORE UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION users_changed();
CREATE TRIGGER users_changed BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON extensions FOR EACH STATEMENT EXECUTE FUNCTION users_changed();
ALTER TABLE users ENABLE ALWAYS TRIGGER users_changed;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_changed;
