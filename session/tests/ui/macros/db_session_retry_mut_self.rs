use sea_session::{Error, prelude::*};

struct Counter(i64);

impl Counter {
    #[db_session(retry = 3)]
    async fn work(&mut self, s: &mut Session) -> Result<(), Error> {
        self.0 += 1;
        s.flush().await
    }
}

fn main() {}
