-- Whose turn it is to apply: a number that becomes greater each time the apply lock is taken. What an apply writes names the number it was
-- given with the lock, and is refused once there is a greater one: a lock can be lost, with its connection, before its holder knows.
-- +goose Up
CREATE TABLE apply_fence (
    one    smallint PRIMARY KEY CHECK (one = 1),   -- there is one row
    number bigint NOT NULL
);
INSERT INTO apply_fence (one, number) VALUES (1, 0);
