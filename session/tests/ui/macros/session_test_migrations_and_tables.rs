use sea_session::prelude::*;

#[session_test(migrations = Migrator, tables = [note::Entity])]
async fn works(s: &mut Session) {
    s.flush().await.ok();
}

fn main() {}
