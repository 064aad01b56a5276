UPDATE slot SET holder = ?3, lease_seconds = ?4, lease_until = ?5, due_at = ?6
WHERE id = ?1 AND epoch = ?2
