//! Objects and savepoints (S).
