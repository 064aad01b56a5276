UPDATE slot SET holder = NULL, lease_until = 0
WHERE app = $1 AND environment = $2 AND realm = $3 AND epoch = $4
RETURNING generation
