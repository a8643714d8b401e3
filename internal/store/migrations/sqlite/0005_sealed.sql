-- Secrets are sealed from here on: those of extensions in their column as before, the files of revisions in theirs.
-- +goose Up
-- Which key sealed what is in this row: its id; '' when there is nothing in it to be sealed; null when it lies open.
ALTER TABLE apply_runs ADD COLUMN sealed_with varchar(8);
CREATE INDEX ix_apply_runs_sealed_with ON apply_runs (sealed_with);
