SELECT slot.id, slot.epoch, slot.due_at, slot.writer, slot.generation, record.revision, record.sealed
FROM slot JOIN record ON record.slot = slot.id
WHERE slot.app = $1 AND slot.environment = $2 AND slot.realm = $3
