INSERT INTO slot (app, environment, realm, epoch, holder, lease_seconds, lease_until, due_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (app, environment, realm) DO UPDATE SET
    epoch = excluded.epoch,
    holder = excluded.holder,
    lease_seconds = excluded.lease_seconds,
    lease_until = excluded.lease_until,
    due_at = excluded.due_at
RETURNING id
