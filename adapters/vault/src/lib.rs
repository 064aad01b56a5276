//! Sealed storage of grants with fenced leases, for evergrant.
