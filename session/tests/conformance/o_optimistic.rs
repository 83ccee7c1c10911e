//! Optimistic checks (O, P) (O).
