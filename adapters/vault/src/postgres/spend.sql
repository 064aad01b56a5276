-- One row if it was not there, or if it is this very call's own from before its answer was lost.
INSERT INTO spent AS old (fingerprint, keep_until, mark)
VALUES ($1, greatest($2::bigint, moment($4) + $5::bigint), $3)
ON CONFLICT (fingerprint) DO UPDATE SET mark = excluded.mark WHERE old.mark = excluded.mark
