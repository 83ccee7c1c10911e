async fn create_in(
    s: &mut Session,
    name: String,
    seen: &mut Vec<String>,
    (x, y): (i32, i32),
) -> Result<(), Error> {
    let _ = &name;
    seen.push(name);
    place(s, x, y).await
}
/// `create_in` in a unit of work of its own: commits on `Ok`, rolls back on `Err`.
#[allow(
    clippy::multiple_bound_locations,
    clippy::needless_lifetimes,
    clippy::too_many_arguments
)]
async fn create(
    db: &::sea_session::Db,
    name: String,
    seen: &mut Vec<String>,
    argument_3: (i32, i32),
) -> Result<(), Error> {
    let unit = db.session().tenant("app.account", &name).strict();
    let arguments = ::std::sync::Mutex::new(
        ::core::option::Option::Some((name, seen, argument_3)),
    );
    unit.run(async |s: &mut ::sea_session::Session| {
            let (name, seen, argument_3) = arguments
                .lock()
                .unwrap_or_else(::std::sync::PoisonError::into_inner)
                .take()
                .expect("a unit that does not retry runs its body once");
            create_in(s, name, seen, argument_3).await
        })
        .await
}
