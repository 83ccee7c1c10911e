//! The command `migrate`, for any migrator: `cli::main::<Migrator>(entities)`.
//!
//! What it is for: an operator's hands and a deployment's scripts: progress for people, `--json` and exit codes for
//! programs. What it must never do: destroy data without being asked twice, or outside development without being given
//! the database's name.

mod guard;
mod output;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use sea_orm_migration::MigratorTrait;
use sea_session::{Class, Db};

use crate::{
    dialect::{DIALECTS, SeaBackend, knock},
    direction::Direction,
    doctor::{self, Entities},
    error::Error,
    findings::Finding,
    options::Options,
    role,
    runner::Runner,
    shown::without_password,
    state::State,
    template,
};

use self::guard::{Guard, Refusal};

const HELP: &str = "\
Examples:
  migrate up                                apply what is pending, from any number of replicas
  migrate status --check                    for scripts: see the exit codes
  migrate plan --backend postgres           the SQL of all migrations, without a database
  migrate down -n 2 --yes                   take the last two back (in development)
  migrate fresh --yes --confirm shop        outside development the database must be named
  migrate role app --password-file secret   the role that the application runs as
  migrate doctor                            compare the schema with the entities

Exit codes:
  0  done
  1  failed
  2  wrong usage
  3  something is pending (status --check)
  4  something is wrong: changed, missing or unsettled migrations, doctor, check-role
  5  another runner held the lock for too long
  6  refused, or not confirmed";

/// Migrates a database.
#[derive(Debug, Parser)]
#[command(name = "migrate", version, about = "Migrates the schema of a database.", after_help = HELP)]
struct Cli {
    /// The database's URL.
    #[arg(long, short = 'd', env = "DATABASE_URL", hide_env_values = true, global = true, value_name = "URL")]
    database: Option<String>,
    /// What this database is for; `development`, `dev`, `test` and `local` allow destruction with `--yes` alone. Not
    /// given: development if the database is a file or on this machine.
    #[arg(long, env = "MIGRATE_ENV", global = true, value_name = "NAME")]
    environment: Option<String>,
    /// Seconds to wait for another runner.
    #[arg(long, default_value_t = 300, global = true, value_name = "SECONDS")]
    wait: u64,
    /// Milliseconds that a statement may wait for a lock, before it is tried again later.
    #[arg(long, default_value_t = 2000, global = true, value_name = "MS")]
    lock_timeout: u64,
    /// Milliseconds that one statement may take; 0 for no limit.
    #[arg(long, default_value_t = 0, global = true, value_name = "MS")]
    statement_timeout: u64,
    /// Go on although applied migrations have changed.
    #[arg(long, global = true)]
    allow_changed: bool,
    /// Go on although migrations are applied that this program does not know.
    #[arg(long, global = true)]
    allow_missing: bool,
    /// Say nothing but errors.
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Apply pending migrations.
    Up {
        /// At most so many.
        #[arg(short, long, default_value_t = u32::MAX, hide_default_value = true)]
        number: u32,
    },
    /// Take applied migrations back, newest first.
    Down {
        /// How many.
        #[arg(short, long, default_value_t = 1)]
        number: u32,
        #[command(flatten)]
        consent: Consent,
    },
    /// Take all migrations back.
    Reset {
        #[command(flatten)]
        consent: Consent,
    },
    /// Take all migrations back and apply them again.
    Refresh {
        #[command(flatten)]
        consent: Consent,
    },
    /// Drop everything in the schema and apply all migrations.
    Fresh {
        #[command(flatten)]
        consent: Consent,
    },
    /// Show every migration and what is wrong with it.
    Status {
        /// For programs.
        #[arg(long)]
        json: bool,
        /// Exit 3 if something is pending, 4 if something is wrong.
        #[arg(long)]
        check: bool,
    },
    /// Print the SQL and run nothing.
    Plan {
        /// All migrations, for a backend, without a database.
        #[arg(long, value_parser = backend())]
        backend: Option<SeaBackend>,
        /// The way down.
        #[arg(long)]
        down: bool,
        /// At most so many.
        #[arg(short, long, default_value_t = u32::MAX, hide_default_value = true)]
        number: u32,
    },
    /// Accept a changed migration: note what it sends now.
    Accept {
        /// Which.
        name: String,
    },
    /// Say where a migration that stopped half-way stands, after looking; nothing of it is run.
    Settle {
        /// Which.
        name: String,
        /// Where its schema is.
        state: Settled,
    },
    /// Write a new migration from a template, and register it.
    New {
        /// What it does, in a few words.
        name: String,
        /// The source of the migrations' crate.
        #[arg(long, default_value = "migration/src")]
        folder: PathBuf,
    },
    /// Compare the schema in the database with the entities and with a clean one.
    Doctor {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Create or correct the role that the application runs as (PostgreSQL).
    Role {
        /// Its name.
        name: String,
        /// A file with its password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Fail if the database's URL names a role that row-level security does not bind.
    CheckRole,
}

/// A backend that is built in, by its name.
fn backend() -> impl TypedValueParser<Value = SeaBackend> {
    let named = |key: String| DIALECTS.iter().find(|dialect| dialect.key() == key).map(|dialect| dialect.backend());
    PossibleValuesParser::new(DIALECTS.iter().map(|dialect| dialect.key()))
        .try_map(move |key| named(key).ok_or("no such backend is built in"))
}

/// Where an operator has brought the schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Settled {
    /// To where the migration was to bring it.
    Applied,
    /// To where it was before the migration.
    Pending,
}

impl From<Settled> for State {
    fn from(settled: Settled) -> Self {
        match settled {
            Settled::Applied => Self::Applied,
            Settled::Pending => Self::Pending,
        }
    }
}

/// Leave to destroy.
#[derive(Args, Clone, Debug)]
pub(crate) struct Consent {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// The database's name, needed outside development.
    #[arg(long, value_name = "DATABASE")]
    confirm: Option<String>,
}

/// What ends the command early.
enum Stop {
    Error(Box<Error>),
    Refused(Refusal),
    Message(String),
    Code(u8),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(Box::new(error.into()))
    }
}

impl Stop {
    fn report(self) -> ExitCode {
        let (code, text) = match self {
            Self::Code(code) => return ExitCode::from(code),
            Self::Error(error) => (exit_code(&error), error.to_string()),
            Self::Refused(refusal) => (6, refusal.to_string()),
            Self::Message(text) => (1, text),
        };
        eprintln!("error: {text}");
        ExitCode::from(code)
    }
}

fn exit_code(error: &Error) -> u8 {
    match error {
        Error::Locked { .. } => 5,
        Error::Changed { .. } | Error::Missing { .. } | Error::Unsettled { .. } | Error::PrivilegedRole { .. } => 4,
        _ => 1,
    }
}

/// Runs the command on the program's arguments, for the migrations of `M`; `entities` is what `migrate doctor` compares the
/// schema with.
///
/// # Cancel safety
/// Meant to be the whole of a program's `main`.
pub async fn main<M: MigratorTrait + 'static>(entities: Entities) -> ExitCode {
    let cli = Cli::parse();
    match run::<M>(&cli, &entities).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => stop.report(),
    }
}

async fn run<M: MigratorTrait + 'static>(cli: &Cli, entities: &Entities) -> Result<(), Stop> {
    match &cli.command {
        Command::Plan { backend: Some(backend), down, number } => {
            let plans = Runner::<M>::plan_for(*backend, way(*down)).await;
            output::plans(&plans, *number);
            return Ok(());
        }
        Command::New { name, folder } => {
            let stamp = chrono::Utc::now().format("%Y%m%d_%H%M%S").to_string();
            let path = template::create(folder, &stamp, name)
                .map_err(|error| Stop::Message(format!("cannot create the migration: {error}")))?;
            output::say(format_args!("{}", path.display()));
            return Ok(());
        }
        _ => {}
    }
    let url = cli
        .database
        .as_deref()
        .ok_or_else(|| Stop::Message("which database? Give --database URL, or set DATABASE_URL".to_owned()))?;
    // What the driver says may have the whole address in it.
    let unreachable =
        |error: String| Stop::Message(format!("cannot connect: {}", error.replace(url, &without_password(url))));
    knock(url, Duration::from_secs(10)).await.map_err(unreachable)?;
    let db = open(url, Duration::from_secs(10)).await.map_err(unreachable)?;
    let outcome = run_on::<M>(cli, entities, url, &db).await;
    let closed = db.close().await;
    outcome?;
    closed.map_err(|error| Stop::Message(error.to_string()))
}

/// A file of SQLite that others open at the same moment may be locked for as long as one of them sets its journal, and SQLite
/// does not wait for that by itself: it is tried again for so long.
async fn open(url: &str, patience: Duration) -> Result<Db, String> {
    let until = Instant::now() + patience;
    loop {
        match Db::connect(url).await {
            Err(error) if error.class() == Some(Class::Busy) && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome.map_err(|error| error.to_string()),
        }
    }
}

async fn run_on<M: MigratorTrait + 'static>(cli: &Cli, entities: &Entities, url: &str, db: &Db) -> Result<(), Stop> {
    let quiet = cli.quiet;
    let runner = Runner::<M>::new(db.clone()).with(options(cli)).on_event(move |event| output::event(event, quiet));
    let guard = Guard { url, environment: cli.environment.as_deref() };
    let consent = |what: &str, consent: &Consent| guard.allow(what, consent).map_err(Stop::Refused);
    let report = match &cli.command {
        Command::Up { number } => runner.up_by(*number).await?,
        Command::Down { number, consent: given } => {
            consent(&format!("take back the last {number} migration(s), with the data in their tables"), given)?;
            runner.down(*number).await?
        }
        Command::Reset { consent: given } => {
            consent("take back all migrations, with all data in their tables", given)?;
            runner.reset().await?
        }
        Command::Refresh { consent: given } => {
            consent("take back all migrations, with all data in their tables, and apply them again", given)?;
            runner.refresh().await?
        }
        Command::Fresh { consent: given } => {
            consent("drop everything in the schema", given)?;
            runner.fresh().await?
        }
        other => return inspect(other, entities, &runner, db).await,
    };
    if !quiet {
        output::report(&report);
    }
    Ok(())
}

/// The commands that leave the schema as it is.
async fn inspect<M: MigratorTrait>(
    command: &Command,
    entities: &Entities,
    runner: &Runner<M>,
    db: &Db,
) -> Result<(), Stop> {
    match command {
        Command::Status { json, check } => {
            let status = runner.status().await?;
            output::status(&status, *json);
            let wrong = status.iter().any(|status| status.findings.iter().any(Finding::is_error));
            let pending = status.iter().any(|status| status.state != State::Applied);
            match (*check, wrong, pending) {
                (true, true, _) => Err(Stop::Code(4)),
                (true, false, true) => Err(Stop::Code(3)),
                _ => Ok(()),
            }
        }
        Command::Plan { down, number, .. } => {
            output::plans(&runner.plan(way(*down), *number).await?, u32::MAX);
            Ok(())
        }
        Command::Accept { name } => Ok(runner.accept(name).await?),
        Command::Settle { name, state } => Ok(runner.settle(name, (*state).into()).await?),
        Command::Doctor { json } => {
            let complaints = doctor::examine::<M>(db.clone(), entities).await?;
            output::complaints(&complaints, *json);
            if complaints.is_empty() { Ok(()) } else { Err(Stop::Code(4)) }
        }
        Command::Role { name, password_file } => {
            let mut role = role::ApplicationRole::new(name);
            role.migration_table = M::migration_table_name().to_string();
            if let Some(file) = password_file {
                let password = std::fs::read_to_string(file)
                    .map_err(|error| Stop::Message(format!("cannot read {}: {error}", file.display())))?;
                role = role.password(password.trim_end_matches(['\n', '\r']));
            }
            Ok(role::create_application_role(db.clone(), &role).await?)
        }
        Command::CheckRole => Ok(role::refuse_privileged_role(db.clone()).await?),
        Command::Up { .. }
        | Command::Down { .. }
        | Command::Reset { .. }
        | Command::Refresh { .. }
        | Command::Fresh { .. }
        | Command::New { .. } => Ok(()),
    }
}

fn way(down: bool) -> Direction {
    if down { Direction::Down } else { Direction::Up }
}

fn options(cli: &Cli) -> Options {
    Options {
        wait: Duration::from_secs(cli.wait),
        lock_timeout: Duration::from_millis(cli.lock_timeout.max(1)),
        statement_timeout: (cli.statement_timeout > 0).then(|| Duration::from_millis(cli.statement_timeout)),
        allow_changed: cli.allow_changed,
        allow_missing: cli.allow_missing,
        ..Options::default()
    }
}
