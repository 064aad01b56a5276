-- Only where no writer came first. The generation is looked at on the very row that is locked.
UPDATE record SET sealed = again.sealed
FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS again (slot, generation, sealed)
WHERE record.slot = again.slot AND record.generation = again.generation
