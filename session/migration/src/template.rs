//! `migrate new NAME`: a migration from a template, registered beside the others.
//!
//! What it must never do: overwrite a file, or leave a file that is not registered without saying so.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Writes `m<stamp>_<name>.rs` beside the list of migrations, and registers it there: `migrations/mod.rs`, `mod.rs` or `lib.rs` of
/// the folder.
///
/// # Errors
/// A name that is not a word, a folder without a module that lists migrations, a file that exists.
pub(crate) fn create(folder: &Path, stamp: &str, name: &str) -> io::Result<PathBuf> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let name = name.trim().to_lowercase().replace(['-', ' '], "_");
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(invalid(format!("`{name}` is not a name: use letters, digits and underscores")));
    }
    let lists = ["migrations/mod.rs", "mod.rs", "lib.rs"].map(|file| folder.join(file));
    let list = lists.into_iter().find(|file| file.is_file());
    let list = list.ok_or_else(|| invalid(format!("{} has neither mod.rs nor lib.rs", folder.display())))?;
    let module = format!("m{stamp}_{name}");
    let registered = register(&fs::read_to_string(&list)?, &module)
        .ok_or_else(|| invalid(format!("{} lists no migrations (`Box::new(m…::Migration)`)", list.display())))?;
    let path = list.with_file_name(format!("{module}.rs"));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    file.write_all(TEMPLATE.replace("{name}", &name.replace('_', " ")).as_bytes())?;
    fs::write(&list, registered)?;
    Ok(path)
}

/// The module list with one more `mod` and one more `Box::new`, behind the last of each.
fn register(source: &str, module: &str) -> Option<String> {
    let mut lines: Vec<String> = source.lines().map(str::to_owned).collect();
    let last_box = lines.iter().rposition(|line| line.trim_start().starts_with("Box::new(m"))?;
    let indent: String = lines[last_box].chars().take_while(|c| c.is_whitespace()).collect();
    lines.insert(last_box + 1, format!("{indent}Box::new({module}::Migration),"));
    let last_mod = lines.iter().rposition(|line| line.trim_start().starts_with("mod m"))?;
    lines.insert(last_mod + 1, format!("mod {module};"));
    Some(lines.join("\n") + "\n")
}

const TEMPLATE: &str = r#"//! {name}: what it changes, and why.
//!
//! | Column, index, constraint | Why |
//! |---|---|
//! | | |

use sea_orm_migration::prelude::*;

/// What it changes, in one sentence.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let statements: &[&str] = match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => &[],
            _ => &[],
        };
        for statement in statements {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let statements: &[&str] = match manager.get_database_backend() {
            sea_orm::DbBackend::Postgres => &[],
            _ => &[],
        };
        for statement in statements {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    // For statements that PostgreSQL refuses in a transaction (CREATE INDEX CONCURRENTLY), say so; the runner then notes
    // each statement and resumes after the last one that was done:
    // fn use_transaction(&self) -> Option<bool> {
    //     Some(false)
    // }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "mod m1_a;\n\nfn migrations() {\n    vec![\n        Box::new(m1_a::Migration),\n    ]\n}\n";

    #[test]
    fn g1_new_writes_a_file_and_registers_it_once() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("mod.rs"), LIST).expect("written");
        let path = create(folder.path(), "2", "Add-Thing").expect("created");
        assert!(path.ends_with("m2_add_thing.rs"));
        let list = fs::read_to_string(folder.path().join("mod.rs")).expect("read");
        assert_eq!(
            list,
            "mod m1_a;\nmod m2_add_thing;\n\nfn migrations() {\n    vec![\n        Box::new(m1_a::Migration),\n        Box::new(m2_add_thing::Migration),\n    ]\n}\n"
        );
        assert_eq!(create(folder.path(), "2", "add thing").map_err(|e| e.kind()), Err(io::ErrorKind::AlreadyExists));
        assert_eq!(create(folder.path(), "3", "no/way").map_err(|e| e.kind()), Err(io::ErrorKind::InvalidInput));
    }
}
