-- Guarded by the epoch (I5), and by the number: a statement that was cut off and arrives late after all is below the write that
-- was made in its place.
WITH committed AS (
    UPDATE slot SET generation = $3, holder = $4, lease_seconds = $5,
        lease_until = CASE WHEN $4::text IS NULL THEN 0 ELSE later(moment($7), $5) END,
        due_at = $6, ends_at = $10, writer = $11
    WHERE id = $1 AND epoch = $2 AND generation < $3
    RETURNING id
)
UPDATE record SET generation = $3, revision = $8, sealed = $9
FROM committed WHERE record.slot = committed.id
