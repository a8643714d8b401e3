-- Extensions have numbers from 10 to 999999; before it was the pool, 1000 to 1999. The constraint has another name in a database of the Python
-- portal, so it is found by what it says.
-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE
    range name;
BEGIN
    FOR range IN
        SELECT c.conname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
        WHERE c.conrelid = 'extensions'::regclass AND c.contype = 'c' AND a.attname = 'number' AND pg_get_constraintdef(c.oid) ~ '\m1000\M.*\m1999\M'
    LOOP
        EXECUTE format('ALTER TABLE extensions DROP CONSTRAINT %I', range);
    END LOOP;
END $$;
-- +goose StatementEnd
ALTER TABLE extensions ADD CONSTRAINT extensions_number_range CHECK (number BETWEEN 10 AND 999999);
