//! The tests that the book shows.

use docs_check::example::{author, draft, note};
use sea_session::{Error, prelude::*};

include!(concat!(env!("OUT_DIR"), "/book_tests.rs"));
