SELECT slot.app, slot.environment, slot.realm, slot.generation, record.revision, slot.due_at,
       CASE WHEN slot.holder IS NOT NULL THEN slot.lease_until END AS leased_until
FROM slot JOIN record ON record.slot = slot.id
WHERE (slot.app, slot.environment, slot.realm) > ($1, $2, $3)
ORDER BY slot.app, slot.environment, slot.realm
LIMIT $4
