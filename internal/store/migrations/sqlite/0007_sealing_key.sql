-- Which key the installation seals with. A host that has another one notices before it seals anything.
-- +goose Up
CREATE TABLE sealing_key (
    one    smallint PRIMARY KEY CHECK (one = 1),
    key_id varchar(8) NOT NULL,
    since  timestamp NOT NULL
);
