UPDATE slot SET holder = ?3, lease_seconds = ?4, lease_until = ?5, due_at = ?6, ends_at = ?7, writer = ?8
WHERE id = ?1 AND epoch = ?2
