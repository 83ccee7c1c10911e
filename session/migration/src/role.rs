//! The application's role on PostgreSQL: one that owns nothing and that row-level security binds (T3).
//!
//! What it is for: to make such a role without a script, and to let an application refuse to start as anything else.
//! Row-level security is forced, so an owner is bound by it too; but an owner can switch it off, and a superuser or a
//! role with `BYPASSRLS` is not bound at all. What it must never do: give the role a right on the schema itself, or
//! print a password.

use sea_orm::DatabaseConnection;
use sea_session::Db;

use crate::{
    dialect::{self, Role},
    error::Error,
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
/// [`Error::Unsupported`] on SQLite, which has no roles, and on MySQL and MariaDB, which have no row-level security; those of
/// the database where the user may not create roles.
///
/// # Cancel safety
/// Safe: one transaction.
pub async fn create_application_role(db: impl Into<Db>, role: &ApplicationRole) -> Result<(), Error> {
    let db = db.into();
    let db = db.connection();
    let dialect = dialect::of(db.get_database_backend())?;
    dialect.roles().map_err(|why| Error::Unsupported(why.to_owned()))?;
    let transaction = dialect.begin(db).await?;
    let mut kept = Vec::new();
    for table in [role.migration_table.clone(), format!("{}_ledger", role.migration_table)] {
        if dialect.table_is_there(&transaction, &table).await? {
            kept.push(table);
        }
    }
    let wanted = Role { name: &role.name, password: role.password.as_deref(), kept: &kept };
    for sql in dialect.role_statements(&transaction, &wanted).await? {
        send(&transaction, &sql).await?;
    }
    Ok(transaction.commit().await?)
}

/// What makes the current role too powerful to serve the application. Empty: it may. On SQLite always empty.
///
/// # Errors
/// [`Error::Unsupported`] on MySQL and MariaDB, which have no row-level security; those of the database.
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
/// [`Error::PrivilegedRole`] with the reasons; [`Error::Unsupported`] on MySQL and MariaDB, which have no row-level
/// security; those of the database.
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

async fn role_and_reasons(db: &DatabaseConnection) -> Result<(String, Vec<String>), Error> {
    let question = dialect::of(db.get_database_backend())?.excess_rights();
    let Some(question) = question.map_err(|why| Error::Unsupported(why.to_owned()))? else {
        return Ok((String::new(), Vec::new()));
    };
    let row = sql::one(db, question, []).await?;
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
