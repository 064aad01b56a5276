-- A lease that seems to begin in the future was taken before the clock was put back: its row is offered, and the claim judges
-- it.
WITH clock AS MATERIALIZED (SELECT moment($1) AS now)
SELECT slot.app, slot.environment, slot.realm, slot.generation, record.revision, slot.due_at,
       CASE WHEN slot.holder IS NOT NULL THEN slot.lease_until END AS leased_until
FROM slot JOIN record ON record.slot = slot.id
WHERE slot.app = $3 AND slot.environment = $4 AND slot.due_at <= (SELECT now FROM clock)
  AND (slot.holder IS NULL OR slot.lease_until <= (SELECT now FROM clock)
       OR slot.lease_until > later((SELECT now FROM clock), slot.lease_seconds))
ORDER BY slot.ends_at NULLS FIRST, slot.due_at, slot.realm
LIMIT $2
