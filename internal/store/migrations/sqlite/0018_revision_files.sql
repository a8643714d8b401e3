-- The files of revisions, each content once: a revision may have any number of files, and an unchanged file costs one row.
-- +goose Up
CREATE TABLE file_contents (
    id          text PRIMARY KEY, -- SHA-256 of the content in hex; of revisions older than this table, the id of their run and a suffix
    content     blob NOT NULL,    -- compressed, and sealed unless the file holds no password
    sealed_with varchar(8)        -- the key; '' if there was nothing to seal, null if passwords are stored as plaintext
);
CREATE TABLE revision_files (
    run_id     text NOT NULL REFERENCES apply_runs (id) ON DELETE CASCADE,
    path       varchar(255) NOT NULL, -- below Asterisk's configuration directory
    content_id text NOT NULL REFERENCES file_contents (id),
    PRIMARY KEY (run_id, path)
);
CREATE INDEX ix_revision_files_content ON revision_files (content_id);

-- The contents of earlier revisions are bound to their run's id, which they keep.
INSERT INTO file_contents (id, content, sealed_with) SELECT id, pjsip, sealed_with FROM apply_runs WHERE pjsip IS NOT NULL;
INSERT INTO revision_files (run_id, path, content_id)
SELECT id, 'pjsip.d/synergycall/generated_endpoints.conf', id FROM apply_runs WHERE pjsip IS NOT NULL;
INSERT INTO file_contents (id, content, sealed_with) SELECT id || ':dialplan', coalesce(dialplan, x''), '' FROM apply_runs WHERE pjsip IS NOT NULL;
INSERT INTO revision_files (run_id, path, content_id)
SELECT id, 'extensions.d/synergycall/generated_routing.conf', id || ':dialplan' FROM apply_runs WHERE pjsip IS NOT NULL;

-- What is left in the run to seal are hand edits that were saved.
UPDATE apply_runs SET sealed_with = '' WHERE json_extract(story, '$.sealed') IS NULL AND json_extract(story, '$.saved') IS NULL;
ALTER TABLE apply_runs DROP COLUMN pjsip;
ALTER TABLE apply_runs DROP COLUMN dialplan;
