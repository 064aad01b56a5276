INSERT INTO record (slot, generation, revision, sealed)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (slot) DO UPDATE SET
    generation = excluded.generation,
    revision = excluded.revision,
    sealed = excluded.sealed
