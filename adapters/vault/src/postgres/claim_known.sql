-- Judged once more under the row's lock: whoever came first has changed its generation, its epoch or its lease.
WITH claimed AS (
    UPDATE slot SET epoch = $4, generation = $4, holder = $5, lease_seconds = $6, lease_until = later(moment($8), $6),
        due_at = $7, ends_at = $11, writer = $12
    WHERE app = $1 AND environment = $2 AND realm = $3
      AND generation = $13 AND epoch < $4 AND (holder IS NULL OR lease_until <= moment($8))
    RETURNING id
)
UPDATE record SET generation = $4, revision = $9, sealed = $10
FROM claimed WHERE record.slot = claimed.id
