//! Blocking HTTP for evergrant, over ureq.
