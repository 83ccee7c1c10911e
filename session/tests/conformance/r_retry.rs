//! Retry (R).
