-- Leases that seem to begin in the future were taken before the clock was put back: cut to their length from now.
WITH clock AS MATERIALIZED (SELECT moment($1) AS now)
UPDATE slot SET lease_until = later((SELECT now FROM clock), lease_seconds)
WHERE due_at <= (SELECT now FROM clock) AND holder IS NOT NULL
  AND lease_until > later((SELECT now FROM clock), lease_seconds)
