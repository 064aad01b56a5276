SELECT slot.id, slot.epoch, slot.holder, slot.lease_seconds, slot.lease_until, slot.due_at, slot.writer,
       record.generation, record.revision, record.sealed
FROM slot JOIN record ON record.slot = slot.id
WHERE slot.app = ?1 AND slot.environment = ?2 AND slot.realm = ?3
