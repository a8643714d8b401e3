-- SQLite compares and sorts texts by their bytes already.
-- +goose Up
SELECT 1;
