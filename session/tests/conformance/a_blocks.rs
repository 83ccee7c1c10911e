//! Atomic blocks (A).
