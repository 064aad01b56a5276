UPDATE slot SET epoch = ?4, holder = ?5, lease_seconds = ?6, lease_until = ?7
WHERE app = ?1 AND environment = ?2 AND realm = ?3
