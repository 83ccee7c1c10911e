//! The identity map (I).
