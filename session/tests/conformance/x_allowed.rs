//! Allowed errors (X).
