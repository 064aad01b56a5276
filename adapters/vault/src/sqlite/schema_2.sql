-- Version 2. Rows that version 1 wrote have neither of the two until they are written again.

-- When what the row holds is lost unless somebody attends to it, as its writer judged.
ALTER TABLE slot ADD COLUMN ends_at INTEGER;
-- Which open vault has written the record. Unlike the holder, it stays when the lease is given back or taken over.
ALTER TABLE slot ADD COLUMN writer INTEGER;

-- What an app has that is due, by how long; and by its end, where there is too much of it to be sorted each time. Those whose end nobody
-- knows stand first there.
DROP INDEX slot_due;
CREATE INDEX slot_due ON slot (app, environment, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX slot_end ON slot (app, environment, ends_at, due_at) WHERE due_at IS NOT NULL;
