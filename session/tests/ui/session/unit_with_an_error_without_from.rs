use sea_session::prelude::*;

#[derive(Debug)]
struct AppError;

async fn run(db: &Db) -> Result<(), AppError> {
    db.run(async |_: &mut Session| -> Result<(), AppError> { Err(AppError) }).await
}

fn main() {}
