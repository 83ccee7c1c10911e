use sea_session::{Error, prelude::*};

enum Failure {
    Session,
}

impl From<Error> for Failure {
    fn from(_: Error) -> Self {
        Failure::Session
    }
}

async fn run(db: &Db) -> Result<(), Failure> {
    let unit = db.session().retry(3).retry_on(|e: &Error| e.is_unique_violation());
    unit.run(async |_: &mut Session| -> Result<(), Failure> { Ok(()) }).await?;
    db.session().allow(|_: &Failure| true).retry(3).retry_on(|e: &Error| e.is_unique_violation());
    Ok(())
}

fn main() {}
