-- What others are clearing away just now is theirs.
DELETE FROM spent WHERE fingerprint IN (
    SELECT fingerprint FROM spent
    WHERE keep_until <= (SELECT moment($1)) AND fingerprint <> $2
    LIMIT 1000 FOR UPDATE SKIP LOCKED
)
