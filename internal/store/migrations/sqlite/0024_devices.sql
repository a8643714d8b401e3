-- Further phones of users. The hash of the user's extension covers them as well.
-- +goose Up
CREATE TABLE devices (
    id         text PRIMARY KEY,
    user_id    text NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    suffix     integer NOT NULL CHECK (suffix BETWEEN 2 AND 5), -- the phone registers as 1000-2
    name       varchar(255) NOT NULL,
    secret     varchar(255) NOT NULL,
    created_at timestamp NOT NULL,
    UNIQUE (user_id, suffix)
);

-- Each change removes the hash, which the portal then writes again, and so is a change of the user's extension: cached lists follow it.
-- +goose StatementBegin
CREATE TRIGGER devices_in AFTER INSERT ON devices
BEGIN
    UPDATE extensions SET row_hash = NULL WHERE user_id = NEW.user_id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_changed AFTER UPDATE ON devices
BEGIN
    UPDATE extensions SET row_hash = NULL WHERE user_id IN (OLD.user_id, NEW.user_id);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_out AFTER DELETE ON devices
BEGIN
    UPDATE extensions SET row_hash = NULL WHERE user_id = OLD.user_id;
END;
-- +goose StatementEnd

-- For a program that has not told SQLite to mind foreign keys.
-- +goose StatementBegin
CREATE TRIGGER devices_of_user_out AFTER DELETE ON users
BEGIN
    DELETE FROM devices WHERE user_id = OLD.id;
END;
-- +goose StatementEnd
