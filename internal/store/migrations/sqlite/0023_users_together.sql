-- SQLite runs its triggers for each row.
-- +goose Up
SELECT 1;
