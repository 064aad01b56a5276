-- The row as it stands, whether its lease is held, and a number for the write if nothing speaks against it. The record comes
-- along only where the caller has to read it again.
WITH clock AS MATERIALIZED (SELECT moment($5) AS now),
found AS (
    SELECT slot.id, slot.epoch, slot.generation, slot.due_at, slot.writer, slot.lease_seconds, slot.lease_until,
           slot.holder IS NOT NULL AND slot.lease_until > clock.now AS held,
           slot.generation = $4 AS expected,
           record.revision, record.sealed
    FROM clock, slot JOIN record ON record.slot = slot.id
    WHERE slot.app = $1 AND slot.environment = $2 AND slot.realm = $3
)
SELECT clock.now, found.id, found.epoch, found.generation, found.due_at, found.writer, found.lease_until, found.held, found.revision,
       found.lease_until > later(clock.now, found.lease_seconds) AS from_the_future,
       later(clock.now, found.lease_seconds) AS longest,
       CASE WHEN NOT coalesce(found.expected, false) THEN found.sealed END AS sealed,
       CASE WHEN CASE WHEN found.id IS NULL THEN $4 IS NULL ELSE found.expected AND NOT found.held END
            THEN nextval('number') END AS number
FROM clock LEFT JOIN found ON true
