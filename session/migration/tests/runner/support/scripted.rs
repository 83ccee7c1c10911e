//! Migrations that are slow, that fail, that were edited. Each [`Script`] is a migrator of its own.

use std::{fmt, str::FromStr};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};
use sea_session_migration::{Error, Event, Options, Report, Runner, Status};

/// One migration: what it sends up and down.
struct Steps {
    name: &'static str,
    down: &'static [&'static str],
    transaction: Option<bool>,
    postgres: &'static [&'static str],
    sqlite: &'static [&'static str],
}

impl MigrationName for Steps {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Steps {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let statements =
            if manager.get_database_backend() == DbBackend::Postgres { self.postgres } else { self.sqlite };
        for statement in statements {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in self.down {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        self.transaction
    }
}

const fn same(name: &'static str, statements: &'static [&'static str]) -> Steps {
    Steps { name, down: &[], transaction: None, postgres: statements, sqlite: statements }
}

const BASE: Steps = same("m1_base", &["CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL)"]);

const HALFWAY: Steps = same(
    "m2_halfway",
    &[
        "CREATE TABLE more (id integer PRIMARY KEY)",
        "ALTER TABLE things ADD COLUMN extra text",
        "CREATE UNIQUE INDEX things_name_key ON things (name)",
        "CREATE TABLE last (id integer PRIMARY KEY)",
    ],
);

const HALFWAY_EDITED: Steps = same(
    "m2_halfway",
    &[
        "CREATE TABLE more (id integer PRIMARY KEY)",
        "ALTER TABLE things ADD COLUMN extra text",
        "CREATE UNIQUE INDEX things_name_key ON things (name)",
    ],
);

const INSERTED: Steps = same("m1b_inserted", &["CREATE TABLE inserted (id integer PRIMARY KEY)"]);

const SLOW: Steps = Steps {
    name: "m2_slow",
    transaction: None,
    down: &[],
    postgres: &[
        "CREATE TABLE slow (id integer PRIMARY KEY)",
        "DO $$ BEGIN PERFORM pg_sleep(2); END $$",
        "CREATE TABLE after_slow (id integer PRIMARY KEY)",
    ],
    sqlite: &[
        "CREATE TABLE slow (id integer PRIMARY KEY)",
        "INSERT INTO slow WITH RECURSIVE n (x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 2500000) SELECT max(x) FROM n",
        "CREATE TABLE after_slow (id integer PRIMARY KEY)",
    ],
};

const CONCURRENT: Steps = Steps {
    name: "m2_concurrent",
    transaction: Some(false),
    down: CONCURRENT_DOWN,
    postgres: &[
        "ALTER TABLE things ADD COLUMN extra text",
        "CREATE UNIQUE INDEX CONCURRENTLY things_name_key ON things (name)",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS things_extra_idx ON things (extra)",
    ],
    sqlite: &[],
};

const CONCURRENT_DOWN: &[&str] = &[
    "DROP INDEX CONCURRENTLY things_extra_idx",
    "DROP INDEX CONCURRENTLY things_name_key",
    "ALTER TABLE things DROP COLUMN extra",
];

const CONCURRENT_CORRECTED: Steps = Steps {
    name: "m2_concurrent",
    transaction: Some(false),
    down: CONCURRENT_DOWN,
    postgres: &[
        "ALTER TABLE things ADD COLUMN extra text",
        "CREATE INDEX CONCURRENTLY things_name_key ON things (name)",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS things_extra_idx ON things (extra)",
    ],
    sqlite: &[],
};

const INDEX: Steps = Steps {
    name: "m2_index",
    transaction: Some(false),
    down: &[],
    postgres: &[
        "CREATE INDEX CONCURRENTLY things_name_idx ON things (name)",
        "CREATE INDEX CONCURRENTLY things_both_idx ON things (id, name)",
    ],
    sqlite: &[],
};

const LOAD_COLUMN: Steps =
    same("m2_load_column", &["ALTER TABLE things ADD COLUMN extra text NOT NULL DEFAULT 'none'"]);

const LOAD_INDEX: Steps = Steps {
    name: "m3_load_index",
    transaction: Some(false),
    down: &[],
    postgres: &["CREATE INDEX CONCURRENTLY things_name_idx ON things (name)"],
    sqlite: &["CREATE INDEX things_name_idx ON things (name)"],
};

macro_rules! scripts {
    ($($script:ident: [$($steps:ident),+],)+) => {
        /// A migrator.
        #[derive(Clone, Copy, Debug)]
        pub enum Script { $($script),+ }

        $(struct $script;

        impl MigratorTrait for $script {
            fn migrations() -> Vec<Box<dyn MigrationTrait>> {
                vec![$(Box::new($steps)),+]
            }
        })+

        impl FromStr for Script {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $(stringify!($script) => Ok(Self::$script),)+
                    other => Err(format!("no script {other}")),
                }
            }
        }

        pub async fn run_with(
            script: Script,
            db: DatabaseConnection,
            options: Options,
            listen: impl Fn(&Event) + Send + Sync + 'static,
        ) -> Result<Report, Error> {
            match script {
                $(Script::$script => Runner::<$script>::new(db).with(options).on_event(listen).up().await,)+
            }
        }

        pub async fn status(script: Script, db: DatabaseConnection) -> Vec<Status> {
            match script {
                $(Script::$script => Runner::<$script>::new(db).status().await.unwrap(),)+
            }
        }

        pub async fn down(script: Script, db: DatabaseConnection, n: u32) -> Result<Report, Error> {
            match script {
                $(Script::$script => Runner::<$script>::new(db).down(n).await,)+
            }
        }

        pub async fn accept(script: Script, db: DatabaseConnection, name: &str) -> Result<(), Error> {
            match script {
                $(Script::$script => Runner::<$script>::new(db).accept(name).await,)+
            }
        }
    };
}

scripts! {
    Base: [BASE],
    Halfway: [BASE, HALFWAY],
    HalfwayEdited: [BASE, HALFWAY_EDITED],
    Inserted: [BASE, INSERTED, HALFWAY_EDITED],
    Slow: [BASE, SLOW],
    Concurrent: [BASE, CONCURRENT],
    ConcurrentCorrected: [BASE, CONCURRENT_CORRECTED],
    Index: [BASE, INDEX],
    Load: [BASE, LOAD_COLUMN, LOAD_INDEX],
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

pub async fn run(script: Script, db: DatabaseConnection, options: Options) -> Result<Report, Error> {
    run_with(script, db, options, |_| ()).await
}
