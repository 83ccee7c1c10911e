use sea_session::{Error, prelude::*};

trait Work {
    #[atomic]
    async fn work(&self, s: &mut Session) -> Result<(), Error>;
}

fn main() {}
