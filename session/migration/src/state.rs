//! How far a migration has come.

/// Where a migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Not applied.
    Pending,
    /// Applied.
    Applied,
    /// A migration without a transaction stopped on its way up; the next `up` resumes it.
    Applying,
    /// A migration without a transaction stopped on its way down; the next `down` resumes it.
    Reverting,
}
