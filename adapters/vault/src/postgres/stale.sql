SELECT slot.app, slot.environment, slot.realm, slot.id, slot.epoch, slot.due_at, slot.writer,
       slot.generation, record.revision, record.sealed
FROM slot JOIN record ON record.slot = slot.id
WHERE record.sealed_under <> $1 AND (slot.app, slot.environment, slot.realm) > ($2, $3, $4)
ORDER BY slot.app, slot.environment, slot.realm
LIMIT $5
