-- The nearest end first, of all that is due: where that is little it is sorted; where it is much, the ends are walked from the nearest
-- on, past what is not due, until there is enough. Locked rows are another process's business just now: passed over. The numbers are
-- drawn in that order. A lease that seems to begin in the future was taken before the clock was put back: it is cut to its length from
-- now, and its row is not claimed yet.
WITH clock AS MATERIALIZED (SELECT moment($1) AS now),
backlog AS MATERIALIZED (
    SELECT id FROM slot
    WHERE app = $5 AND environment = $6 AND due_at <= (SELECT now FROM clock)
    ORDER BY due_at LIMIT 1001
),
of_few AS MATERIALIZED (
    SELECT slot.id, slot.holder IS NULL OR slot.lease_until <= (SELECT now FROM clock) AS free
    FROM backlog JOIN slot ON slot.id = backlog.id
    WHERE (SELECT count(*) FROM backlog) <= 1000
      AND slot.due_at <= (SELECT now FROM clock)
      AND (slot.holder IS NULL OR slot.lease_until <= (SELECT now FROM clock)
           OR slot.lease_until > later((SELECT now FROM clock), slot.lease_seconds))
    ORDER BY slot.ends_at NULLS FIRST, slot.due_at, slot.realm
    LIMIT $2
    FOR NO KEY UPDATE OF slot SKIP LOCKED
),
of_many AS MATERIALIZED (
    SELECT slot.id, slot.holder IS NULL OR slot.lease_until <= (SELECT now FROM clock) AS free
    FROM slot
    WHERE (SELECT count(*) FROM backlog) > 1000
      AND slot.app = $5 AND slot.environment = $6 AND slot.due_at <= (SELECT now FROM clock)
      AND (slot.holder IS NULL OR slot.lease_until <= (SELECT now FROM clock)
           OR slot.lease_until > later((SELECT now FROM clock), slot.lease_seconds))
    ORDER BY slot.ends_at NULLS FIRST, slot.due_at, slot.realm
    LIMIT $2
    FOR NO KEY UPDATE OF slot SKIP LOCKED
),
picked AS MATERIALIZED (SELECT id, free FROM of_few UNION ALL SELECT id, free FROM of_many),
cut AS (
    UPDATE slot SET lease_until = later((SELECT now FROM clock), slot.lease_seconds)
    FROM picked WHERE slot.id = picked.id AND NOT picked.free
),
numbered AS MATERIALIZED (SELECT id, nextval('number') AS number FROM picked WHERE free)
UPDATE slot SET epoch = numbered.number, holder = $3, lease_seconds = $4,
    lease_until = later((SELECT now FROM clock), $4)
FROM numbered WHERE slot.id = numbered.id
RETURNING slot.id, slot.epoch
