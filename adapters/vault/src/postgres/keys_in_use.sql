SELECT sealed_under, count(*) AS rows FROM record
WHERE length(sealed_under) = 8
GROUP BY sealed_under ORDER BY sealed_under
