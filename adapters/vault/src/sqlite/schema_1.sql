-- Version 1. Numbers of seconds are Unix seconds by this machine's clock.

-- The one number that rises with every write of a record. Epochs and generations are drawn from it, so neither
-- is ever given twice, not even to a row that was removed and made again.
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
) STRICT;
INSERT INTO counter (one, last) VALUES (1, 0);

-- One row a name: lease and schedule, narrow, apart from the sealed record.
CREATE TABLE slot (
    id INTEGER PRIMARY KEY,
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    realm TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    holder TEXT,
    lease_seconds INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    due_at INTEGER,
    UNIQUE (app, environment, realm)
) STRICT;
CREATE INDEX slot_due ON slot (due_at) WHERE due_at IS NOT NULL;

-- The sealed record. It is bound to its name, its generation and its revision: it opens nowhere else.
CREATE TABLE record (
    slot INTEGER PRIMARY KEY REFERENCES slot (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;

-- What may be used once, and was.
CREATE TABLE spent (
    fingerprint BLOB PRIMARY KEY,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_keep_until ON spent (keep_until);

-- A known text sealed under each key that was ever the newest: tells a wrong key at the door.
CREATE TABLE canary (
    key BLOB PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;
