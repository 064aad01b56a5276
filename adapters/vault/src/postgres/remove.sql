DELETE FROM slot WHERE app = $1 AND environment = $2 AND realm = $3 AND epoch = $4
