-- What follows from new users is written once for each statement, not for each row: the portal inserts many in one.
-- +goose Up
-- Changes of one statement have one version. The row of users_version is locked before the first row is inserted, by users_changed.
-- +goose StatementBegin
CREATE FUNCTION users_inserted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    mark uuid := gen_random_uuid();
    added bigint := (SELECT count(*) FROM inserted);
    last bigint;
BEGIN
    IF added = 0 THEN
        RETURN NULL;
    END IF;
    UPDATE users_version SET version = mark, changes = changes + added RETURNING changes INTO last;
    UPDATE user_changes c SET change = i.change, version = mark, user_id = i.user_id
    FROM (SELECT last - added + row_number() OVER () AS change, user_id FROM inserted) i
    WHERE c.slot = i.change % 1024 AND i.change > last - 1024;
    INSERT INTO numbers (number, tenant_id, user_id) SELECT i.number, u.tenant_id, u.id FROM inserted i JOIN users u ON u.id = i.user_id;
    RETURN NULL;
END $$;
-- +goose StatementEnd

DROP TRIGGER users_recorded_in ON extensions;
DROP TRIGGER users_changed ON extensions;
DROP TRIGGER numbers_in ON extensions;
CREATE TRIGGER users_changed BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON extensions FOR EACH STATEMENT EXECUTE FUNCTION users_changed();
CREATE TRIGGER users_inserted AFTER INSERT ON extensions REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION users_inserted();
CREATE TRIGGER numbers_out AFTER DELETE ON extensions FOR EACH ROW EXECUTE FUNCTION numbers_follow();
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_changed;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_inserted;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER numbers_out;
