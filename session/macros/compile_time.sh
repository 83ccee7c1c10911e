#!/usr/bin/env bash
# Compile time of 50 tracked entities beside 50 plain ones: two crates that differ in one derive, each compiled ROUNDS
# times after its dependencies. Prints the processor time of every round and the ratio of the smallest ones, which a busy
# machine disturbs least. Usage: session/macros/compile_time.sh [check|build]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
mode=${1:-check}
rounds=${ROUNDS:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/compile_time CARGO_INCREMENTAL=0

crate() {
    local name=$1 derive=$2 n
    mkdir -p "$work/$name/src"
    cat >"$work/$name/Cargo.toml" <<TOML
[package]
name = "$name"
version = "0.0.0"
edition = "2024"

[dependencies]
sea-orm.workspace = true
sea-session.workspace = true
TOML
    for n in $(seq 50); do
        echo "pub mod entity_$n;" >>"$work/$name/src/lib.rs"
        cat >"$work/$name/src/entity_$n.rs" <<RUST
use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel$derive)]
#[sea_orm(table_name = "entity_$n")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub owner_id: i64,
    pub title: String,
    pub summary: Option<String>,
    pub body: String,
    pub weight: f64,
    pub position: i32,
    pub archived: bool,
    pub meta: Json,
    pub version: i32,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
RUST
    done
}

crate plain ''
crate tracked ', sea_session::Tracked'
{
    printf '[workspace]\nmembers = ["plain", "tracked"]\nresolver = "3"\n\n[workspace.dependencies]\n'
    sed -n '/^sea-orm = {/,/^] }/p' Cargo.toml
    printf 'sea-session = { path = "%s/session" }\n' "$root"
} >"$work/Cargo.toml"
cp Cargo.lock "$work/"

TIMEFORMAT='%U %S'
cd "$work"
cargo "$mode" --quiet --workspace
declare -A best
for round in $(seq "$rounds"); do
    for name in plain tracked; do
        touch "$name/src/lib.rs"
        took=$({ time cargo "$mode" --quiet --package "$name" >&2; } 2>&1 | awk '{ print int(($1 + $2) * 1000) }')
        printf '%s %d: %d ms\n' "$name" "$round" "$took"
        if [ -z "${best[$name]:-}" ] || [ "$took" -lt "${best[$name]}" ]; then best[$name]=$took; fi
    done
done
awk -v p="${best[plain]}" -v t="${best[tracked]}" \
    'BEGIN { printf "plain %.2f s, tracked %.2f s: %.2f times\n", p / 1000, t / 1000, t / p }'
