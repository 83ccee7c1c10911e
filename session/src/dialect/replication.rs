//! Servers that replay what their primary writes (U9): positions in its log, and how they are asked for.

use std::{fmt, str::FromStr};

use crate::error::Error;

/// How far a primary's log has been written, and which part of it a replica must have replayed (U9). Written and read as the
/// server writes it, `0/16B3748`, so that it can travel to another process: in a header, a cookie, or with a job.
///
/// ```
/// use sea_session::Position;
///
/// let position: Position = "0/16B3748".parse()?;
/// assert_eq!(position.to_string(), "0/16B3748");
/// assert!(position < "1/0".parse()?);
/// # Ok::<(), sea_session::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

impl FromStr for Position {
    type Err = Error;

    /// # Errors
    /// [`Error::Usage`]: the text is no position.
    fn from_str(text: &str) -> Result<Self, Error> {
        let half = |digits: &str| match digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            true => u32::from_str_radix(digits, 16).ok().map(u64::from),
            false => None,
        };
        let halves = text.split_once('/').and_then(|(high, low)| half(high).zip(half(low)));
        let position = halves.map(|(high, low)| Self(high << 32 | low));
        position.ok_or_else(|| {
            Error::usage("not a position in a log: two hexadecimal numbers of up to 8 digits are, as in `0/16B3748`")
        })
    }
}

/// How a server is asked about its log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replication {
    /// Asked of the primary: a `position` behind everything that was committed before.
    pub(crate) written: &'static str,
    /// Asked of a replica outside of any transaction, which it leaves none of: whether it follows a primary (`follows`), has
    /// replayed everything up to a position (`replayed`), and can only run units that say which isolation they have
    /// (`needs_isolation`).
    pub(crate) check: fn(Position) -> String,
    /// The code of what a replica cannot do.
    pub(crate) not_on_replicas: &'static str,
    /// Asked in front of COMMIT: whether the transaction has written (`wrote`).
    pub(crate) wrote: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u9_a_position_is_read_as_it_is_written() {
        for text in ["0/0", "0/16B3748", "FFFFFFFF/FFFFFFFF", "A/1"] {
            assert_eq!(text.parse::<Position>().expect("a position").to_string(), text);
        }
        assert_eq!("0a/01b".parse::<Position>().expect("a position").to_string(), "A/1B");
        for text in ["", "/", "0", "0/", "/0", "0/0/0", "+1/0", "0/-1", "1FFFFFFFF/0", "0/g", " 0/0", "0/0'; DROP"] {
            assert!(matches!(text.parse::<Position>(), Err(Error::Usage(_))), "{text}");
        }
    }

    #[test]
    fn u9_positions_are_in_the_order_of_the_log() {
        let sorted =
            ["0/9", "0/A", "0/FFFFFFFF", "1/0", "A/0", "10/0"].map(|text| text.parse::<Position>().expect(text));
        assert!(sorted.is_sorted(), "{sorted:?}");
    }
}
