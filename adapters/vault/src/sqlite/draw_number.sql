UPDATE counter SET last = last + 1 WHERE one = 1 RETURNING last
