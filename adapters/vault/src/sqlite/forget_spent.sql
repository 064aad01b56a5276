DELETE FROM spent WHERE keep_until <= ?1 AND fingerprint <> ?2
