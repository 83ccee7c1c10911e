use sea_session::{Error, prelude::*};

trait Work {
    #[db_session]
    async fn work(&self, s: &mut Session) -> Result<(), Error>;
}

fn main() {}
