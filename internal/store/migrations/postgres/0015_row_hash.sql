-- A hash of each user with the extension, computed by the program over all their columns and compared whenever they are read: it shows what the
-- disk changed. NULL where another program wrote the row. How many have one is counted, for damage can also hide rows, or the hash.
-- +goose Up
ALTER TABLE extensions ADD COLUMN row_hash bigint;
ALTER TABLE users_version ADD COLUMN covered bigint NOT NULL DEFAULT 0;

-- What the program inserts it adds to covered itself. All else is counted here: what another program changes is no longer covered. With the
-- rights of their owner: another program on the same tables may have none on users_version.
-- +goose StatementBegin
CREATE FUNCTION users_covered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    CASE TG_OP
    WHEN 'TRUNCATE' THEN UPDATE users_version SET covered = 0;
    WHEN 'DELETE' THEN UPDATE users_version SET covered = covered - 1;
    ELSE UPDATE users_version SET covered = covered + (NEW.row_hash IS NOT NULL)::int - (OLD.row_hash IS NOT NULL)::int;
    END CASE;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION users_uncovered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        UPDATE extensions SET row_hash = NULL WHERE user_id IN (OLD.id, NEW.id) AND row_hash IS NOT NULL;
        RETURN NULL;
    END IF;
    NEW.row_hash := NULL;
    RETURN NEW;
END $$;
-- +goose StatementEnd

CREATE TRIGGER users_uncovered AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION users_uncovered();
CREATE TRIGGER users_uncovered BEFORE UPDATE ON extensions FOR EACH ROW WHEN (NEW.row_hash = OLD.row_hash) EXECUTE FUNCTION users_uncovered();
CREATE TRIGGER users_covered AFTER UPDATE ON extensions FOR EACH ROW WHEN ((NEW.row_hash IS NULL) <> (OLD.row_hash IS NULL)) EXECUTE FUNCTION users_covered();
CREATE TRIGGER users_covered_out AFTER DELETE ON extensions FOR EACH ROW WHEN (OLD.row_hash IS NOT NULL) EXECUTE FUNCTION users_covered();
CREATE TRIGGER users_covered_none AFTER TRUNCATE ON extensions FOR EACH STATEMENT EXECUTE FUNCTION users_covered();
ALTER TABLE users ENABLE ALWAYS TRIGGER users_uncovered;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_uncovered;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_covered;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_covered_out;
ALTER TABLE extensions ENABLE ALWAYS TRIGGER users_covered_none;
