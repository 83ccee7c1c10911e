//! The rules, each in a line. A test belongs to a rule if its name has the rule's id between underscores.

/// A group of rules: its letter's meaning, and the rules in order.
pub struct Group {
    pub title: &'static str,
    pub rules: &'static [(&'static str, &'static str)],
}

pub const GROUPS: &[Group] = &[
    Group {
        title: "A. Nested blocks",
        rules: &[
            ("A1", "The outermost block is the transaction; BEGIN goes out with the first statement."),
            (
                "A2",
                "A nested block is a savepoint with a name of its own, sent with the first statement inside; an empty block sends nothing.",
            ),
            ("A3", "A merged block, or one entered while flagged, sends no SQL; an error inside flags its parent."),
            (
                "A4",
                "A block that ends well is released; if that fails it is rolled back, and the first error is returned.",
            ),
            (
                "A5",
                "A unit that ends well is committed; if that fails it is rolled back or its connection discarded, and the commit's error is returned.",
            ),
            (
                "A6",
                "A block that ends badly goes back to its savepoint; a failure to do so flags the parent, and the body's error is returned.",
            ),
            (
                "A7",
                "`set_rollback(true)` rolls back and returns the block's value; a swallowed database error never ends in Ok.",
            ),
            ("A8", "In a flagged block every statement is refused with the first cause."),
            ("A9", "`set_rollback(false)` takes a repaired flag back; outside a block both calls are errors."),
            ("A10", "Commit and rollback of the unit are refused inside a block."),
            ("A11", "After the connection is lost exits send nothing, and the unit ends with the loss as its cause."),
            ("A12", "A durable block is refused when nested, before any SQL."),
            ("A13", "Every way out of a block is covered: `?`, return, panic, dropped future."),
            (
                "A14",
                "A PostgreSQL error caught inside its own block leaves the block refused, and the cause shown is the first error.",
            ),
            ("A15", "Blocks nest without limit; 64 open savepoints are warned of."),
        ],
    },
    Group {
        title: "B. By hand",
        rules: &[
            (
                "B1",
                "Savepoints by hand: taken, rolled back to, released, in order; one that is gone is an error without SQL.",
            ),
            ("B2", "`begin`, `commit`, `rollback`: five states, and an ended unit is not used again."),
            (
                "B3",
                "A session says whether it is in a transaction and how deep; a joining function cannot ask for another isolation.",
            ),
            ("B4", "Read-only and deferrable are refused where they cannot be had."),
            ("B5", "Advisory locks of the transaction; on SQLite a refusal that says why."),
            ("B6", "One unit a batch, with progress, resumable after a batch that failed."),
        ],
    },
    Group {
        title: "H. Hooks",
        rules: &[
            ("H1", "`on_commit` outside a transaction runs at once."),
            ("H2", "Hooks run in the order of registration, across levels, after the outermost COMMIT only."),
            ("H3", "A hook goes with any block around it that rolls back."),
            ("H4", "Commit, rollback and a lost connection clear the register."),
            ("H5", "A hook may open a unit and may register; what it registers runs at once."),
            (
                "H6",
                "A failing hook leaves the commit standing and is reported as such; robust hooks are logged and the rest run.",
            ),
            ("H7", "A hook registered while flagged is taken and never runs."),
            ("H8", "`on_rollback` is the mirror image."),
            ("H9", "A retried attempt takes its hooks along."),
            ("H10", "Flush hooks, and SeaORM's `ActiveModelBehavior` hooks once an object."),
        ],
    },
    Group {
        title: "S. Objects and savepoints",
        rules: &[
            (
                "S1",
                "A nested block first flushes what its parent has pending; that is the parent's and survives the child.",
            ),
            ("S2", "A block keeps what it did to objects, and hands it to its parent on release."),
            ("S3", "Rolled back, an added object is transient: values readable, may be added again."),
            ("S4", "Rolled back, a deleted object is there again, the same instance."),
            (
                "S5",
                "Rolled back, a changed object has its values from before, without a query; one first loaded in the block leaves the map.",
            ),
            ("S6", "A changed primary key goes back, and the map with it."),
            ("S7", "What the caller expunged stays out."),
            (
                "S8",
                "A failed flush puts database and memory back to the nearest boundary and names entity, key and constraint.",
            ),
            ("S9", "Changes between a failure and its rollback are dropped with a warning."),
            ("S10", "Memory goes back even if ROLLBACK TO fails."),
            ("S11", "Commit flushes until nothing is dirty; a hook that dirties for ever is stopped."),
            ("S12", "After the unit objects are readable; a write is warned of, or panics in a strict unit."),
        ],
    },
    Group {
        title: "I. Identity map",
        rules: &[
            ("I1", "One row is one object in a unit, however it was reached."),
            ("I2", "Adding a key that the map holds is an error; delete and add of one key becomes an UPDATE."),
            ("I3", "Reading a row again overwrites nothing dirty and refreshes only on request or under FOR UPDATE."),
            ("I4", "A deleted object is not found; peek, expunge, refresh, merge, expire, contains and state."),
            ("I5", "`get_many` asks for what is missing only, in one statement."),
            ("I6", "The map holds strongly; streamed rows do not grow it."),
            ("I7", "Keys compare by the column's type: an i32 key finds an i64 row; composite keys too."),
            ("I8", "A relation of many parents loads in one statement; repeated lazy loads are reported once."),
        ],
    },
    Group {
        title: "F. Flush",
        rules: &[
            ("F1", "Order by foreign key and by unique value; a cycle is patched through a nullable key or named."),
            ("F2", "The number of statements follows tables and kinds of change, not rows."),
            ("F3", "Only columns that differ are sent; no difference, no SQL."),
            ("F4", "A column never set takes the database's default, in a batch too."),
            ("F5", "Generated keys reach objects and their children; the order of RETURNING is not relied on."),
            ("F6", "Created and deleted before a flush: nothing is sent."),
            ("F7", "`no_autoflush` holds for a stretch and ends with its guard."),
            ("F8", "A row count that differs is `Stale`, with the key."),
            ("F9", "A batch that failed leaves nothing queued."),
            ("F10", "Many-to-many through a junction: detach first, no duplicates, O(1) statements."),
        ],
    },
    Group {
        title: "O, P. Optimistic checks",
        rules: &[
            (
                "O1",
                "Writes of a versioned entity match the loaded version, in batches too; a miss says expected and found.",
            ),
            (
                "O2",
                "The flush raises the version once; a version set by hand does not replace the loaded one in the check.",
            ),
            ("O3", "`merge` of an older version is refused."),
            ("P1", "An optimistic unit checks the columns that were read before the row was written."),
            ("P2", "Blind writes are not checked, but must hit a row."),
            ("P3", "Floats, excluded columns, serializable units and locked rows are not checked."),
            ("P4", "After a flush the baseline is what was written."),
            ("P5", "A row read again whose read column differs is `UnrepeatableRead`; an unread one is refreshed."),
            ("P6", "The error names the column; the values only if the unit shows values."),
        ],
    },
    Group {
        title: "R. Retry",
        rules: &[
            ("R1", "`Retry::times(n)` makes n + 1 attempts with full-jitter pauses, capped, optionally within a time."),
            ("R2", "Each attempt starts afresh: session, map, hooks."),
            ("R3", "Failures of flush and COMMIT count."),
            ("R4", "Only the outermost unit retries; a unit begun by hand never does."),
            (
                "R5",
                "What the database said decides, whatever the caller's error type shows; `retry_on` adds the caller's own.",
            ),
            ("R6", "Exhausted or not retryable: the last error as it is."),
            ("R7", "Which codes are retried, and which are not."),
            ("R8", "A serialization failure inside a nested block dooms the unit."),
            ("R9", "A lost answer to COMMIT is settled by the transaction's id or a token, or said to be unknown."),
            ("R10", "A retried unit leaves what a single run would."),
        ],
    },
    Group {
        title: "X, M. Allowed errors; several databases",
        rules: &[
            ("X1", "An allowed error flushes, commits and is then returned."),
            ("X2", "A predicate that panics rolls back."),
            ("X3", "Only the outermost unit decides; allowed and retried at once is refused."),
            ("M1", "Several databases in one phase: the primary decides, and a later failure names who has what."),
            ("M2", "In two phases all are prepared first, and recovery settles what a crash left."),
        ],
    },
    Group {
        title: "C. Cancellation and loss",
        rules: &[
            ("C1", "A future dropped anywhere leaves no open transaction in the pool and undoes nothing acknowledged."),
            ("C2", "A dropped block is rolled back before the parent's next statement."),
            ("C3", "A unit dropped in mid-statement frees its locks within 250 ms."),
            ("C4", "A connection of unknown state is closed."),
            ("C5", "The pool keeps its size over a thousand drops."),
        ],
    },
    Group {
        title: "T. Tenants",
        rules: &[
            ("T1", "`set_local` binds for the transaction only, in BEGIN's message, whatever the value holds."),
            ("T2", "A tenant's entity is refused in a unit without a tenant, and none is written for another."),
            ("T3", "Row-level security is forced on PostgreSQL and tested as a role that it binds."),
            ("T4", "Two tenants may hold the same URI."),
        ],
    },
    Group {
        title: "L. Looking inside",
        rules: &[
            ("L1", "Spans with counts; values appear in logs and errors only on request."),
            ("L2", "`stats()` counts statements, rows, hits, misses, flushes, savepoints, retries."),
            ("L3", "A recorder, and an assertion on the number of messages."),
            ("L4", "`#[session_test]` gives a session that is rolled back, on each backend asked for."),
        ],
    },
    Group {
        title: "V. Context store",
        rules: &[
            ("V1", "The forms of a URI, its canonical spelling, and why others are refused."),
            ("V2", "Access is decided before any SQL, and the reason given is the true one."),
            ("V3", "Write: create, update, expected versions, archived nodes."),
            ("V4", "Every change of a node writes its event in the same transaction."),
            ("V5", "Read and exists: absent, archived, broken, denied; one statement."),
            ("V6", "Children: direct, implied folders too, ordered, paged from the index; wildcards mean themselves."),
            ("V7", "A move takes the subtree along in O(1) statements, with edges, records and versions."),
            ("V8", "Delete, archive and restore."),
            ("V9", "Edges: upsert, access on both ends, traversal that survives cycles."),
            ("V10", "History: read back and revert."),
            ("V11", "Tree, glob and search respect access and are paged."),
            ("V12", "Import is resumable and idempotent; export round-trips."),
            ("V13", "The ids of index records, and when a record is deleted."),
        ],
    },
    Group {
        title: "Q. Outbox",
        rules: &[
            ("Q1", "Event and change commit together."),
            ("Q2", "At least once, in commit order per node, without holding other nodes up."),
            ("Q3", "Claims and acknowledgements in batches, fenced by a token."),
            ("Q4", "A failing head holds its node back until done or dead; dead letters are listed, replayed, purged."),
            ("Q5", "One bad record fails alone; an unknown type is dead; a sink that is down kills nothing."),
            ("Q6", "Wake-ups after the commit, coalesced; polling finds the rest."),
            ("Q7", "Shutdown within a deadline; a killed dispatcher loses nothing."),
            ("Q8", "`inbox` for effects that must happen once."),
            ("Q9", "Done events do not pile up."),
            ("Q10", "Depth, age, latency, retries and dead letters can be read."),
        ],
    },
    Group {
        title: "G. Migrations",
        rules: &[
            ("G1", "The command's verbs, and the same as a library."),
            ("G2", "Many replicas at once: one migrates, the others wait."),
            ("G3", "A failed migration leaves nothing half done, names itself, and can be run again."),
            ("G4", "A changed or missing migration is reported."),
            ("G5", "`fresh` and `down` ask first."),
            ("G6", "`plan` prints and runs nothing."),
            ("G7", "Lock and statement timeouts bound a migration."),
            ("G8", "Up, down, up gives the same schema."),
        ],
    },
    Group {
        title: "D. What the database makes of a row",
        rules: &[
            (
                "D1",
                "What a table does to its rows is read from the catalogue, once for each pool and table, and again after DDL.",
            ),
            ("D2", "Rows go in a set only where the table's facts say that single rows would give the same."),
            (
                "D3",
                "A generated key reaches its object by what the database returned for that row, never by order or counting.",
            ),
            (
                "D4",
                "After a write an object holds what its row holds: rounded, padded, computed, rewritten by a trigger.",
            ),
            ("D5", "Two spellings of a key that the database holds equal are one object."),
            (
                "D6",
                "What a foreign key does to rows it does to the objects; a key that changes is followed by linked children.",
            ),
            ("D7", "A row that is found to be gone takes its object out of the map, and its key may be added again."),
            ("D8", "What is set in an expired object is sent, and every way of following it asks the database first."),
            ("D9", "Names that users chose never meet ours; the same table name in two schemas is two tables."),
            ("D10", "A statement is cut by bytes as well as by rows and parameters."),
            ("D11", "Transaction control as raw SQL is refused; a transaction that ended by itself fails its unit."),
            ("D12", "Any value that SeaORM's own statements carry is carried by every path."),
            ("D13", "A flush leaves the same rows and objects as SeaORM's own statements, one row at a time."),
        ],
    },
    Group {
        title: "E. Sharper than before",
        rules: &[
            ("E1", "An order is found wherever one exists for single rows."),
            ("E2", "A lost answer to any COMMIT of several databases is settled, or named as unknown."),
            (
                "E3",
                "`merge` accepts only the version that it finds; `patch` changes what is set and never inserts; both take forms.",
            ),
            ("E4", "A receiver's reason is data, and each sink has its own stream."),
            ("E5", "A plan that the table outgrew is dropped, and the unit may be repeated."),
            ("E6", "A unit may be dropped outside a runtime, in one that ends, in a panic."),
            ("E7", "A version at its type's end is a named error before anything is sent."),
        ],
    },
    Group {
        title: "U. Loading and changing many",
        rules: &[
            ("U1", "Graphs of any depth load in one statement a level."),
            ("U2", "`update_many` and `delete_many` through the session keep the map true."),
            ("U3", "Nested models are added as a graph; cascades and orphans in memory."),
            ("U4", "Upsert, get-or-add, delete by key, find by a unique value."),
            ("U5", "Filters of an entity hold in every read."),
            ("U6", "Keyset pages of objects, and joined loads through the map."),
            ("U7", "What a flush changes can be seen before and after it."),
            ("U8", "SeaORM's own transactions and streams inside a unit."),
            ("U9", "Read-only units go to a replica that has what this process wrote."),
            ("U10", "An object serializes as its model, and a fallible form stands beside everything that panics."),
        ],
    },
    Group {
        title: "Y. Backends",
        rules: &[
            ("Y1", "One file a dialect holds what a backend can do."),
            ("Y2", "MySQL and MariaDB."),
            ("Y3", "A Galera cluster of three nodes."),
            ("Y4", "A build with one driver has no code of the others."),
        ],
    },
    Group {
        title: "W. The store, harmed by nobody, and found",
        rules: &[
            ("W1", "What an archive says is data: each line is checked, and identities are the caller's own."),
            ("W2", "What is printed as a name can be pasted back as that name."),
            ("W3", "Two spellings of one name never overwrite each other unsaid."),
            ("W4", "A sink counts what the receiver confirms by record; no redirects, bounded answers."),
            ("W5", "Any word of a question may match, ranked, in every language, on both backends alike."),
            ("W6", "A glob is linear, and means what it says."),
            ("W7", "Nothing of other owners or tenants can be told from answers."),
            ("W8", "Passwords are not printed, in any form of URL."),
            ("W9", "An export writes everything, or says what it did not."),
        ],
    },
    Group {
        title: "Z. Hazards: what goes wrong with SeaORM 2.0.4 and sqlx 0.9.0 alone",
        rules: &[
            ("Z1", "A cancelled or failed nested `begin` rolls its parent back."),
            ("Z2", "A parent committed while its child lives loses every row."),
            ("Z3", "A cancelled `begin` leaves an open transaction in the pool."),
            ("Z4", "A dropped query goes on in the server and keeps its locks."),
            ("Z5", "COMMIT of an aborted transaction says Ok."),
            ("Z6", "40001 arrives at COMMIT, and `sql_err()` does not know it."),
            ("Z7", "A rollback that fails replaces the caller's error."),
            ("Z8", "Dropping a transaction while a child's query runs panics."),
            ("Z9", "A batch that mixes set and unset columns writes NULL for the default."),
            ("Z10", "A statement over the limit of binds fails; nothing chunks."),
            ("Z11", "`Set` forgets the original value."),
            ("Z12", "`save` guesses insert or update by whether the key is set."),
            ("Z13", "`Int(1)` and `BigInt(1)` differ as map keys."),
            ("Z14", "BEGIN's options: two round trips on PostgreSQL, ignored on SQLite."),
            ("Z15", "SQLite fails a deferred read-then-write at once, whatever its busy timeout."),
            ("Z16", "Without default features SQLite loses RETURNING."),
            ("Z17", "`RelationDef::is_owner` is the other way round than documented."),
            ("Z18", "`#[sea_orm::model]` copies other derives to both of its structs."),
            ("Z19", "`MigratorTrait` takes no lock."),
            ("Z20", "A parameter set locally reads as the empty string afterwards, not as NULL."),
            ("Z21", "Positions from a sequence are not in commit order."),
            ("Z22", "NOTIFY inside transactions halves their throughput."),
        ],
    },
];

/// Every rule's id, in the page's order.
pub fn ids() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.rules.iter().map(|(id, _)| *id))
}
