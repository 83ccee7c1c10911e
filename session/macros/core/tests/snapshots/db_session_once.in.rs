#[db_session(tenant("app.account" = name), strict, on = "create")]
async fn create_in(s: &mut Session, name: String, seen: &mut Vec<String>, (x, y): (i32, i32)) -> Result<(), Error> {
    seen.push(name);
    place(s, x, y).await
}
