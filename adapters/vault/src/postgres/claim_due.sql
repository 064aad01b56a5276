-- Locked rows are another process's business just now: passed over. The numbers are drawn in the order of the deadlines.
WITH clock AS MATERIALIZED (SELECT moment($1) AS now),
free AS MATERIALIZED (
    SELECT id FROM slot
    WHERE due_at <= (SELECT now FROM clock) AND (holder IS NULL OR lease_until <= (SELECT now FROM clock))
    ORDER BY due_at, app, environment, realm
    LIMIT $2
    FOR NO KEY UPDATE SKIP LOCKED
),
numbered AS MATERIALIZED (SELECT id, nextval('number') AS number FROM free)
UPDATE slot SET epoch = numbered.number, holder = $3, lease_seconds = $4,
    lease_until = later((SELECT now FROM clock), $4)
FROM numbered WHERE slot.id = numbered.id
RETURNING slot.id, slot.epoch
