-- A lease that seems to begin in the future was taken before the clock was put back: cut to its length from now.
UPDATE slot SET lease_until = ?4 + lease_seconds
WHERE app = ?1 AND environment = ?2 AND realm = ?3
