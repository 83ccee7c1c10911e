//! Z2: the session is lent to the block, so the parent cannot be ended from inside it, nor a second block be opened.

use sea_session::Error;
use sea_session::prelude::*;

async fn commit_inside(s: &mut Session) -> Result<(), Error> {
    let mut open = Box::pin(s.atomic(async |_child| -> Result<(), Error> { Ok(()) }));
    s.commit().await?;
    open.as_mut().await
}

fn main() {}
