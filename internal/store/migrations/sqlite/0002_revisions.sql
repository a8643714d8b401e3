-- What an apply did beyond its audit record: the revision it made, if it reached the files, and the story of how it went.
-- +goose Up
CREATE TABLE apply_runs (
    id              text PRIMARY KEY REFERENCES apply_audit_logs (id),
    revision        integer UNIQUE,           -- number of the generation of files; null when none was made
    result          varchar(50) NOT NULL,     -- pbx.Result
    verification    varchar(50) NOT NULL,     -- pbx.Verification
    comment         varchar(1000) NOT NULL DEFAULT '',
    idempotency_key varchar(255) UNIQUE,
    code            varchar(50) NOT NULL DEFAULT '',
    users           integer NOT NULL DEFAULT 0,
    pjsip           blob,                     -- the bytes of the revision
    dialplan        blob,
    story           text NOT NULL             -- plan, events with times, differences, what was saved of hand edits
);

-- Numbers that were freed, and when: a setting can keep them from being given out again for a while.
CREATE TABLE freed_numbers (
    number   integer PRIMARY KEY,
    freed_at timestamp NOT NULL
);
