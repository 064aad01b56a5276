-- Leases that seem to begin in the future were taken before the clock was put back: cut to their length from now.
UPDATE slot SET lease_until = ?1 + lease_seconds
WHERE due_at <= ?1 AND holder IS NOT NULL AND lease_until > ?1 + lease_seconds
