-- Further phones of users. The hash of the user's extension covers them as well.
-- +goose Up
CREATE TABLE devices (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    suffix     integer NOT NULL CHECK (suffix BETWEEN 2 AND 5), -- the phone registers as 1000-2
    name       varchar(255) COLLATE "C" NOT NULL,
    secret     varchar(255) COLLATE "C" NOT NULL,
    created_at timestamp NOT NULL,
    UNIQUE (user_id, suffix)
);

-- Each change removes the hash, which the portal then writes again, and so is a change of the user's extension: cached lists follow it. With the rights
-- of its owner: a program that deletes users may have none on this table.
-- +goose StatementBegin
CREATE FUNCTION devices_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        UPDATE extensions SET row_hash = NULL;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        UPDATE extensions SET row_hash = NULL WHERE user_id = OLD.user_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        UPDATE extensions SET row_hash = NULL WHERE user_id = NEW.user_id;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER devices_changed AFTER INSERT OR UPDATE OR DELETE ON devices FOR EACH ROW EXECUTE FUNCTION devices_changed();
CREATE TRIGGER devices_changed_none AFTER TRUNCATE ON devices FOR EACH STATEMENT EXECUTE FUNCTION devices_changed();
ALTER TABLE devices ENABLE ALWAYS TRIGGER devices_changed;
ALTER TABLE devices ENABLE ALWAYS TRIGGER devices_changed_none;
