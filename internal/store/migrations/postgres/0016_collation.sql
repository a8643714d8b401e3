-- Texts are compared and sorted by their bytes, as SQLite does, whatever the locale of the database: what counts as the same address depends on no
-- locale (in a Turkish one I is no capital of i), and no index is damaged by an upgrade of the system's locales. Only indexes are built
-- again. A table that something of another program depends on, such as a view, stays as it is.
-- +goose Up
-- +goose StatementBegin
DO $$
DECLARE
    changed record;
BEGIN
    FOR changed IN
        SELECT c.relname AS name, string_agg(format('ALTER COLUMN %I TYPE %s COLLATE "C"', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) AS columns
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attcollation <> 0 AND a.attcollation <> CAST('pg_catalog."C"' AS regcollation)
            AND c.relname IN ('tenants', 'users', 'extensions', 'apply_audit_logs', 'apply_runs', 'accounts', 'sessions', 'one_time_codes', 'api_tokens',
                'audit_events', 'sealing_key')
        GROUP BY c.relname
    LOOP
        BEGIN
            EXECUTE format('ALTER TABLE %I %s', changed.name, changed.columns);
        EXCEPTION WHEN feature_not_supported THEN
            RAISE WARNING 'the table % keeps its collation: %', changed.name, SQLERRM;
        END;
    END LOOP;
END $$;
-- +goose StatementEnd
