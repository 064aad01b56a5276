UPDATE slot SET lease_until = $3 WHERE id = $1 AND epoch = $2 AND lease_until > $3
