-- The objects of the Asterisk host that have a number of the pool and are not the portal's, as they were seen last: by source ('files' or
-- 'running'), as a JSON array. New users do not get the numbers of these objects, also while Asterisk is not running.
-- +goose Up
CREATE TABLE host_objects (
    source  text COLLATE "C" PRIMARY KEY,
    objects text COLLATE "C" NOT NULL
);
