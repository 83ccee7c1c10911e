//! Several databases (M).
