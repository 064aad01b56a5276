-- A lease that seems to begin in the future was taken before the clock was put back: its row is offered, and the
-- claim judges it.
SELECT slot.app, slot.environment, slot.realm, record.generation, record.revision, slot.due_at,
       CASE WHEN slot.holder IS NOT NULL THEN slot.lease_until END
FROM slot JOIN record ON record.slot = slot.id
WHERE slot.due_at <= ?1
  AND (slot.holder IS NULL OR slot.lease_until <= ?1 OR slot.lease_until > ?1 + slot.lease_seconds)
ORDER BY slot.due_at, slot.app, slot.environment, slot.realm
LIMIT ?2
