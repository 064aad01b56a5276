-- Which of the two a schema is: a vault (it has our table), or somebody else's (it has others).
SELECT to_regclass(quote_ident($1) || '.vault') IS NOT NULL AS ours,
       EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = $1) AS used
