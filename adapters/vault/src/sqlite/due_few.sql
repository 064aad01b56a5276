-- Little is due: all of it is sorted.
-- A lease that seems to begin in the future was taken before the clock was put back: its row is offered, and the claim judges it.
SELECT slot.app, slot.environment, slot.realm, record.generation, record.revision, slot.due_at,
       CASE WHEN slot.holder IS NOT NULL THEN slot.lease_until END
FROM slot INDEXED BY slot_due JOIN record ON record.slot = slot.id
WHERE slot.app = ?1 AND slot.environment = ?2 AND slot.due_at <= ?3
  AND (slot.holder IS NULL OR slot.lease_until <= ?3 OR slot.lease_until > ?3 + slot.lease_seconds)
ORDER BY slot.ends_at, slot.due_at, slot.realm
LIMIT ?4
