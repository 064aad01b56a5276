INSERT INTO spent (fingerprint, keep_until) VALUES (?1, ?2)
ON CONFLICT (fingerprint) DO NOTHING
