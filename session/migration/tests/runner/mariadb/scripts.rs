//! Migrations for MariaDB.

use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

/// One migration: what it sends up and down.
struct Steps {
    name: &'static str,
    up: &'static [&'static str],
    down: &'static [&'static str],
    /// It asks the database first, so that it is no plain list.
    asks: bool,
}

impl MigrationName for Steps {
    fn name(&self) -> &str {
        self.name
    }
}

impl Steps {
    const fn of(name: &'static str, up: &'static [&'static str]) -> Self {
        Self { name, up, down: &[], asks: false }
    }

    const fn down(self, down: &'static [&'static str]) -> Self {
        Self { down, ..self }
    }

    const fn asks(self) -> Self {
        Self { asks: true, ..self }
    }

    async fn send(&self, manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
        if self.asks {
            manager.has_table("things").await?;
        }
        for statement in statements {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Steps {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        self.send(manager, self.up).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        self.send(manager, self.down).await
    }
}

const BASE: Steps = Steps::of("m1_base", &["CREATE TABLE things (id int PRIMARY KEY, name varchar(40) NOT NULL)"])
    .down(&["DROP TABLE things"]);

const HALFWAY_DOWN: &[&str] =
    &["DROP TABLE last", "ALTER TABLE things DROP KEY things_name_key, DROP COLUMN extra", "DROP TABLE more"];

const HALFWAY: Steps = Steps::of(
    "m2_halfway",
    &[
        "CREATE TABLE more (id int PRIMARY KEY AUTO_INCREMENT, name varchar(40)); ALTER TABLE things ADD COLUMN extra text",
        "INSERT INTO more (name) VALUES ('once; and only once')",
        "CREATE UNIQUE INDEX things_name_key ON things (name)",
        "CREATE TABLE last (id int PRIMARY KEY)",
    ],
)
.down(HALFWAY_DOWN);

/// Its index, at which it fails, is another one now.
const HALFWAY_CORRECTED: Steps = Steps::of(
    "m2_halfway",
    &[
        "CREATE TABLE more (id int PRIMARY KEY AUTO_INCREMENT, name varchar(40)); ALTER TABLE things ADD COLUMN extra text",
        "INSERT INTO more (name) VALUES ('once; and only once')",
        "CREATE INDEX things_name_key ON things (name)",
        "CREATE TABLE last (id int PRIMARY KEY)",
    ],
)
.down(HALFWAY_DOWN);

/// What stands of it when it fails is another thing now.
const HALFWAY_REWRITTEN: Steps = Steps::of(
    "m2_halfway",
    &[
        "CREATE TABLE more (id bigint PRIMARY KEY AUTO_INCREMENT, name varchar(40))",
        "CREATE INDEX things_name_key ON things (name)",
    ],
);

/// Its one statement waits for whoever reads `things`.
const COLUMN: Steps = Steps::of(
    "m2_column",
    &["CREATE TABLE before_it (id int)", "ALTER TABLE things ADD COLUMN extra int", "CREATE TABLE after_it (id int)"],
)
.down(&["DROP TABLE after_it", "ALTER TABLE things DROP COLUMN extra", "DROP TABLE before_it"]);

/// In the place of the column that may have been added.
const OTHER_COLUMN: Steps = Steps::of(
    "m2_column",
    &["CREATE TABLE before_it (id int)", "ALTER TABLE things ADD COLUMN other int", "CREATE TABLE after_it (id int)"],
);

/// Nobody can see whether it was carried out.
const TRUNCATED: Steps = Steps::of("m2_truncated", &["TRUNCATE TABLE things", "CREATE TABLE after_it (id int)"])
    .down(&["DROP TABLE after_it"]);

const ROWS: Steps = Steps::of(
    "m2_rows",
    &[
        "INSERT INTO things VALUES (1, 'a'); UPDATE things SET name = 'b'",
        "INSERT INTO things (SELECT id + 1, name FROM things)",
    ],
)
.down(&["DELETE FROM things"]);

const ROWS_THAT_FAIL: Steps =
    Steps::of("m2_rows", &["INSERT INTO things VALUES (1, 'a')", "INSERT INTO things VALUES (2, NULL)"]);

/// A setting of its connection that later statements need.
const SETTING: Steps = Steps::of(
    "m2_setting",
    &[
        "SET FOREIGN_KEY_CHECKS = 0",
        "CREATE TABLE child (id int PRIMARY KEY, thing int NOT NULL, FOREIGN KEY (thing) REFERENCES things (id))",
        "CREATE UNIQUE INDEX things_name_key ON things (name)",
        "INSERT INTO child VALUES (1, 77)",
        "SET FOREIGN_KEY_CHECKS = 1",
    ],
);

/// It fails before anything of it is committed, as long as there is a row.
const CODE: Steps = Steps::of(
    "m2_code",
    &["INSERT INTO things VALUES (1, 'twice')", "CREATE TABLE by_code (id int)", "INSERT INTO by_code VALUES (1)"],
)
.down(&["DROP TABLE by_code", "DELETE FROM things WHERE name = 'twice'"])
.asks();

/// It fails after its first table.
const CODE_THAT_FAILS: Steps = Steps::of("m2_code", &["CREATE TABLE by_code (id int)", "CREATE TABLE things (id int)"])
    .down(&["DROP TABLE by_code"])
    .asks();

/// The server drops one of them, and refuses the statement.
const DROP_BOTH: Steps = Steps::of("m2_drop_both", &["CREATE TABLE one (id int)", "DROP TABLE one, other"]);

/// The server would be longer about it than anybody waits.
const SLOW: Steps = Steps::of("m2_slow", &["INSERT INTO things SELECT 1, sleep(3600)"]);

/// What it calls commits a part, and fails.
const CALLED: Steps = Steps::of(
    "m2_called",
    &[
        "CREATE PROCEDURE twice() BEGIN INSERT INTO things VALUES (1, 'a'); INSERT INTO things VALUES (1, 'b'); END",
        "CALL twice()",
        "CREATE TABLE after_it (id int)",
    ],
);

const PROCEDURE: Steps = Steps::of(
    "m2_procedure",
    &[
        "CREATE TRIGGER things_in BEFORE INSERT ON things FOR EACH ROW BEGIN SET NEW.name = trim(NEW.name); END",
        "CREATE PROCEDURE tidy(IN up_to int) BEGIN DELETE FROM things WHERE id < up_to; END",
        "CREATE VIEW names AS SELECT name FROM things",
    ],
)
.down(&["DROP VIEW names", "DROP PROCEDURE tidy", "DROP TRIGGER things_in"]);

macro_rules! migrators {
    ($($migrator:ident: [$($steps:ident),+],)+) => {
        $(pub struct $migrator;

        impl MigratorTrait for $migrator {
            fn migrations() -> Vec<Box<dyn MigrationTrait>> {
                vec![$(Box::new($steps)),+]
            }
        })+
    };
}

migrators! {
    Base: [BASE],
    Halfway: [BASE, HALFWAY],
    HalfwayCorrected: [BASE, HALFWAY_CORRECTED],
    HalfwayRewritten: [BASE, HALFWAY_REWRITTEN],
    Column: [BASE, COLUMN],
    OtherColumn: [BASE, OTHER_COLUMN],
    Truncated: [BASE, TRUNCATED],
    Rows: [BASE, ROWS],
    RowsThatFail: [BASE, ROWS_THAT_FAIL],
    Setting: [BASE, SETTING],
    Code: [BASE, CODE],
    CodeThatFails: [BASE, CODE_THAT_FAILS],
    DropBoth: [BASE, DROP_BOTH],
    Slow: [BASE, SLOW],
    Called: [BASE, CALLED],
    Procedure: [BASE, PROCEDURE],
}
