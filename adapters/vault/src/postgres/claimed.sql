-- The records of leases that were just taken, as they stand now: an earlier look could be older than the lease.
SELECT slot.app, slot.environment, slot.realm, slot.epoch, slot.due_at, slot.writer,
       slot.generation, record.revision, record.sealed
FROM unnest($1::bigint[], $2::bigint[]) AS taken (id, epoch)
JOIN slot ON slot.id = taken.id AND slot.epoch = taken.epoch
JOIN record ON record.slot = slot.id
ORDER BY slot.epoch
