//! The application's role on PostgreSQL: one that owns nothing and that row-level security binds (T3).
//!
//! What it is for: to make such a role without a script, and to let an application refuse to start as anything else.
//! Row-level security is forced, so an owner is bound by it too; but an owner can switch it off, and a superuser or a
//! role with `BYPASSRLS` is not bound at all. What it must never do: give the role a right on the schema itself, or
//! print a password.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, TransactionTrait};
use sea_session::Db;

use crate::{
    error::Error,
    ledger::Ledger,
    sql::{self, send},
};

/// A role to be made.
#[derive(Clone)]
#[non_exhaustive]
pub struct ApplicationRole {
    /// Its name.
    pub name: String,
    /// The password it logs in with; none for other ways of authentication.
    pub password: Option<String>,
    /// SeaORM's migration table, which the role may read and not write.
    pub migration_table: String,
}

impl std::fmt::Debug for ApplicationRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApplicationRole").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ApplicationRole {
    /// A role of that name, without a password, beside SeaORM's own migration table.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), password: None, migration_table: "seaql_migrations".to_owned() }
    }

    /// With a password.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }
}

/// Creates the role, or corrects it if it exists: it may log in, and select, insert, update and delete in every table of
/// the current schema but the runner's own, now and in tables that later migrations of this user make. It owns nothing.
///
/// # Errors
/// [`Error::Unsupported`] on SQLite, which has no roles; those of the database where the user may not create roles.
///
/// # Cancel safety
/// Safe: one transaction.
pub async fn create_application_role(db: impl Into<Db>, role: &ApplicationRole) -> Result<(), Error> {
    let db = db.into();
    let db = db.connection();
    refuse_other_than_postgres(db)?;
    let transaction = db.begin().await?;
    for sql in statements(&transaction, role).await? {
        send(&transaction, &sql).await?;
    }
    Ok(transaction.commit().await?)
}

async fn statements<C: ConnectionTrait>(db: &C, role: &ApplicationRole) -> Result<Vec<String>, DbErr> {
    // Quoted by the server, which knows its own rules.
    let row = sql::one(
        db,
        "SELECT format('%I', $1::text), format('%L', $2::text), format('%I', current_schema()), \
            EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1), \
            EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1 AND (rolsuper OR rolbypassrls))",
        [role.name.as_str().into(), role.password.clone().into()],
    )
    .await?;
    let (name, password, schema): (String, String, String) =
        (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
    let verb = if row.try_get_by_index::<bool>(3)? { "ALTER" } else { "CREATE" };
    let password = if role.password.is_some() { format!(" PASSWORD {password}") } else { String::new() };
    let mut statements = vec![
        format!("{verb} ROLE {name} LOGIN NOCREATEDB NOCREATEROLE NOINHERIT{password}"),
        format!("GRANT USAGE ON SCHEMA {schema} TO {name}"),
        format!("REVOKE CREATE ON SCHEMA {schema} FROM {name}"),
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {name}"),
        format!("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {name}"),
        format!("ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {name}"),
        format!("ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {name}"),
    ];
    // Only a superuser may say this, and only then is there a reason to.
    if row.try_get_by_index::<bool>(4)? {
        statements.push(format!("ALTER ROLE {name} NOSUPERUSER NOBYPASSRLS"));
    }
    for table in [role.migration_table.clone(), format!("{}_ledger", role.migration_table)] {
        if Ledger::has_table(db, &table).await? {
            statements.push(format!(r#"REVOKE INSERT, UPDATE, DELETE ON "{table}" FROM {name}"#));
        }
    }
    Ok(statements)
}

/// What makes the current role too powerful to serve the application. Empty: it may. On SQLite always empty.
///
/// # Errors
/// Those of the database.
///
/// # Cancel safety
/// Safe.
pub async fn excess_rights(db: impl Into<Db>) -> Result<Vec<String>, Error> {
    let db = db.into();
    Ok(role_and_reasons(db.connection()).await?.1)
}

/// To be called when an application starts: refuses to go on as a role that row-level security does not bind.
///
/// # Errors
/// [`Error::PrivilegedRole`] with the reasons; those of the database.
///
/// # Cancel safety
/// Safe.
pub async fn refuse_privileged_role(db: impl Into<Db>) -> Result<(), Error> {
    let db = db.into();
    match role_and_reasons(db.connection()).await? {
        (_, reasons) if reasons.is_empty() => Ok(()),
        (role, reasons) => Err(Error::PrivilegedRole { role, reasons }),
    }
}

async fn role_and_reasons(db: &DatabaseConnection) -> Result<(String, Vec<String>), DbErr> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok((String::new(), Vec::new()));
    }
    // A member of the owning role can become the owner: that counts as owning.
    let sql = "SELECT r.rolname::text, r.rolsuper, r.rolbypassrls, \
        coalesce((SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c \
            WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relrowsecurity \
                AND pg_has_role(r.oid, c.relowner, 'MEMBER')), '') \
        FROM pg_roles r WHERE r.rolname = current_user";
    let row = sql::one(db, sql, []).await?;
    let owned: String = row.try_get_by_index(3)?;
    let mut reasons = Vec::new();
    if row.try_get_by_index::<bool>(1)? {
        reasons.push("it is a superuser, whom row-level security does not bind".to_owned());
    } else if !owned.is_empty() {
        reasons.push(format!("it owns, or may become the owner of, {owned}"));
    }
    if row.try_get_by_index::<bool>(2)? {
        reasons.push("it bypasses row-level security".to_owned());
    }
    Ok((row.try_get_by_index(0)?, reasons))
}

fn refuse_other_than_postgres(db: &DatabaseConnection) -> Result<(), Error> {
    match db.get_database_backend() {
        DbBackend::Postgres => Ok(()),
        _ => Err(Error::Unsupported("SQLite has no roles: whoever may open the file may do everything".to_owned())),
    }
}
