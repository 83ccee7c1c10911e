//! Roles that row-level security binds (T3).

use sea_orm::{DatabaseTransaction, DbErr};

use crate::{dialect::Role, sql};

/// The current role, whether it is a superuser, whether it bypasses row-level security, and the tables that it owns. A member of
/// the owning role can become the owner: that counts as owning.
pub(super) const EXCESS: &str = "SELECT r.rolname::text, r.rolsuper, r.rolbypassrls, \
    coalesce((SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c \
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relrowsecurity \
            AND pg_has_role(r.oid, c.relowner, 'MEMBER')), '') \
    FROM pg_roles r WHERE r.rolname = current_user";

pub(super) async fn statements(db: &DatabaseTransaction, role: &Role<'_>) -> Result<Vec<String>, DbErr> {
    // Quoted by the server, which knows its own rules.
    let row = sql::one(
        db,
        "SELECT format('%I', $1::text), format('%L', $2::text), format('%I', current_schema()), \
            EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1), \
            EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1 AND (rolsuper OR rolbypassrls))",
        [role.name.into(), role.password.into()],
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
    statements
        .extend(role.kept.iter().map(|table| format!(r#"REVOKE INSERT, UPDATE, DELETE ON "{table}" FROM {name}"#)));
    Ok(statements)
}
