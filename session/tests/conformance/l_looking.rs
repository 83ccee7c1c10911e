//! Looking inside (L).
