-- What each connection asks for. FULL: a commit survives the loss of power (REF-1, I3).
PRAGMA synchronous = FULL;
PRAGMA fullfsync = ON;
PRAGMA foreign_keys = ON;
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
-- Old sealed bytes are overwritten when they are replaced.
PRAGMA secure_delete = ON;
