//! Async HTTP for evergrant, over reqwest.
