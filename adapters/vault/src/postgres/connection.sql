-- What each connection asks for, whatever the server's or the role's defaults are.
SET default_transaction_isolation TO 'read committed';
-- A commit survives the loss of power (REF-1, I3). Stronger settings stay as they are.
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
-- Waiting is bounded on this side; these free the server of what this side has given up.
SET idle_in_transaction_session_timeout TO '10s';
