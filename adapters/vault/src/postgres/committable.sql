-- A number for the write if the epoch is still the row's; the record where it is not.
SELECT slot.id, slot.epoch, slot.generation, slot.due_at, slot.writer, record.revision,
       CASE WHEN slot.epoch <> $4 THEN record.sealed END AS sealed,
       CASE WHEN slot.epoch = $4 THEN nextval('number') END AS number
FROM slot JOIN record ON record.slot = slot.id
WHERE slot.app = $1 AND slot.environment = $2 AND slot.realm = $3
