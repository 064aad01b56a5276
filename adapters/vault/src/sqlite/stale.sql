SELECT slot.app, slot.environment, slot.realm, record.generation, record.revision, slot.due_at,
       CASE WHEN slot.holder IS NOT NULL THEN slot.lease_until END
FROM slot JOIN record ON record.slot = slot.id
WHERE substr(record.sealed, 2, 8) <> ?1 AND (slot.app, slot.environment, slot.realm) > (?2, ?3, ?4)
ORDER BY slot.app, slot.environment, slot.realm
LIMIT ?5
