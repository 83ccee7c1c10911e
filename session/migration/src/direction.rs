//! Which way a migration goes.
//!
//! It must never decide whether one goes: that is the runner's.

use std::fmt;

use sea_orm::DbErr;
use sea_orm_migration::{MigrationTrait, SchemaManager};
use serde::Serialize;

use crate::state::State;

/// Which way a migration goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Apply.
    Up,
    /// Take back.
    Down,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

impl Direction {
    pub(crate) async fn run(self, migration: &dyn MigrationTrait, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        match self {
            Self::Up => migration.up(manager).await,
            Self::Down => migration.down(manager).await,
        }
    }

    pub(crate) fn in_progress(self) -> State {
        match self {
            Self::Up => State::Applying,
            Self::Down => State::Reverting,
        }
    }

    pub(crate) fn marker(self) -> &'static str {
        match self {
            Self::Up => "applying",
            Self::Down => "reverting",
        }
    }
}
