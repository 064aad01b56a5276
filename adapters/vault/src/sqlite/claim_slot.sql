INSERT INTO slot (app, environment, realm, epoch, holder, lease_seconds, lease_until, due_at, ends_at, writer)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
ON CONFLICT (app, environment, realm) DO UPDATE SET
    epoch = excluded.epoch,
    holder = excluded.holder,
    lease_seconds = excluded.lease_seconds,
    lease_until = excluded.lease_until,
    due_at = excluded.due_at,
    ends_at = excluded.ends_at,
    writer = excluded.writer
RETURNING id
