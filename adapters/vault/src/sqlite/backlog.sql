-- How much is due, as far as it matters.
SELECT count(*) FROM (
    SELECT 1 FROM slot INDEXED BY slot_due
    WHERE app = ?1 AND environment = ?2 AND due_at <= ?3
    LIMIT ?4
)
