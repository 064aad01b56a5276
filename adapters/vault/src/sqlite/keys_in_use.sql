-- The key's id stands behind the version byte of each sealed record.
SELECT substr(sealed, 2, 8) AS key, count(*) FROM record
WHERE length(sealed) >= 9
GROUP BY key ORDER BY key
