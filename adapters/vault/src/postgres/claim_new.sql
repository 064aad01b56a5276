WITH claimed AS (
    INSERT INTO slot (app, environment, realm, epoch, generation, holder, lease_seconds, lease_until, due_at, ends_at, writer)
    VALUES ($1, $2, $3, $4, $4, $5, $6, later(moment($8), $6), $7, $11, $12)
    ON CONFLICT (app, environment, realm) DO NOTHING
    RETURNING id
)
INSERT INTO record (slot, generation, revision, sealed)
SELECT id, $4, $9, $10 FROM claimed
