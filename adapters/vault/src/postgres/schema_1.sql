-- Version 1. Numbers of seconds are Unix seconds by this server's clock.

-- What this schema is, and how new.
CREATE TABLE vault (
    one integer PRIMARY KEY CHECK (one = 1),
    version integer NOT NULL
);
INSERT INTO vault (one, version) VALUES (1, 0);

-- The one number that rises with every write of a record. Epochs and generations are drawn from it, so neither is ever given
-- twice. A sequence and not a row: a row would make all writers wait for each other's disk. Numbers that were drawn for nothing
-- are lost, which harms nobody. No cache: a session that drew ahead would give a number below one that was given already.
CREATE SEQUENCE number AS bigint NO CYCLE CACHE 1;

-- Lease and schedule, narrow, apart from the sealed record. Names in the order of their bytes.
CREATE TABLE slot (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    realm text COLLATE "C" NOT NULL,
    epoch bigint NOT NULL,
    generation bigint NOT NULL,
    holder text,
    lease_seconds integer NOT NULL,
    lease_until bigint NOT NULL,
    due_at bigint,
    UNIQUE (app, environment, realm)
) WITH (fillfactor = 80);
CREATE INDEX slot_due ON slot (due_at) WHERE due_at IS NOT NULL;

-- The sealed record, bound to its name, its generation and its revision: it opens nowhere else. The generation stands here a
-- second time only so that sealing again can tell, on the row that it locks, that a writer came first. Kept in line as long as it fits a
-- page, and never compressed: sealed bytes do not shrink.
CREATE TABLE record (
    slot bigint PRIMARY KEY REFERENCES slot (id) ON DELETE CASCADE,
    generation bigint NOT NULL,
    revision bigint NOT NULL,
    sealed bytea NOT NULL,
    -- The key's id, which stands behind the version byte.
    sealed_under bytea GENERATED ALWAYS AS (substring(sealed FROM 2 FOR 8)) STORED
) WITH (fillfactor = 70, toast_tuple_target = 8000);
ALTER TABLE record ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX record_sealed_under ON record (sealed_under);

-- What may be used once, and was. The mark is the spender's own, so that it knows its row again after a lost answer.
CREATE TABLE spent (
    fingerprint bytea PRIMARY KEY,
    keep_until bigint NOT NULL,
    mark bytea NOT NULL
);
CREATE INDEX spent_keep_until ON spent (keep_until);

-- A known text sealed under each key that was ever the newest: tells a wrong key at the door.
CREATE TABLE canary (
    key bytea PRIMARY KEY,
    sealed bytea NOT NULL
);

-- The clock that leases are judged by: this server's, unless a test says what time it is. Not now(), which stands still
-- while a statement waits for a lock.
CREATE FUNCTION moment(said bigint) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(said, floor(extract(epoch FROM clock_timestamp()))::bigint)
$$;

-- So many seconds later, and no later than there are numbers.
CREATE FUNCTION later(moment bigint, seconds integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT least(moment, 9223372036854775807 - seconds) + seconds
$$;
