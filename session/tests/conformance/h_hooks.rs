//! Hooks (H).
