//! Savepoints and units by hand (B).
