//! A plain SeaORM service moves to sessions one function at a time, and works after every step.
//!
//! `cargo run --example adopt` runs the service before, between and after, on embedded SQLite, and checks that each
//! version does the same. What each step buys is said where it is taken.

use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    ModelTrait, PaginatorTrait, QueryFilter, Schema, TransactionTrait,
};
use sea_session::prelude::*;

/// The service's own entities. The derive `Tracked` is all that was added, and only step 3 needs it.
mod account {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "account")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub owner: String,
        pub balance: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::entry::Entity")]
        Entry,
    }

    impl Related<super::entry::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Entry.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod entry {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "entry")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub account_id: i64,
        pub amount: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation, Tracked)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::account::Entity", from = "Column::AccountId", to = "super::account::Column::Id")]
        Account,
    }

    impl Related<super::account::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Account.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// What can go wrong.
#[derive(Debug)]
enum BankError {
    NoAccount(i64),
    Overdrawn { account: i64, balance: i64 },
    Database(DbErr),
    Session(SessionError),
}

impl std::fmt::Display for BankError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BankError::NoAccount(id) => write!(f, "there is no account {id}"),
            BankError::Overdrawn { account, balance } => write!(f, "account {account} holds only {balance}"),
            BankError::Database(e) => e.fmt(f),
            BankError::Session(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for BankError {}

impl From<DbErr> for BankError {
    fn from(error: DbErr) -> Self {
        BankError::Database(error)
    }
}

/// The one line of error handling that sessions need.
impl From<SessionError> for BankError {
    fn from(error: SessionError) -> Self {
        BankError::Session(error)
    }
}

/// Step 0: the service as it was. The transaction is passed by hand, every row is saved by itself, and whoever calls
/// `book` with the pool instead of the transaction loses the guarantee without a word.
mod before {
    use super::*;

    pub async fn find<C: ConnectionTrait>(db: &C, id: i64) -> Result<account::Model, BankError> {
        account::Entity::find_by_id(id).one(db).await?.ok_or(BankError::NoAccount(id))
    }

    pub async fn book<C: ConnectionTrait>(db: &C, account: account::Model, amount: i64) -> Result<(), BankError> {
        let (id, balance) = (account.id, account.balance + amount);
        if balance < 0 {
            return Err(BankError::Overdrawn { account: id, balance: account.balance });
        }
        entry::ActiveModel { account_id: Set(id), amount: Set(amount), ..Default::default() }.insert(db).await?;
        let mut account: account::ActiveModel = account.into();
        account.balance = Set(balance);
        account.update(db).await?;
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the plain service that the example starts from")]
    pub async fn transfer(db: &DatabaseConnection, from: i64, to: i64, amount: i64) -> Result<(), BankError> {
        let tx = db.begin().await?;
        let (source, target) = (find(&tx, from).await?, find(&tx, to).await?);
        book(&tx, source, -amount).await?;
        book(&tx, target, amount).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Step 1: only the outermost function changes. A session is a SeaORM connection, so `find` and `book` run on it
/// untouched. Bought: a commit that fails is an error, a dropped future leaves no open transaction, and nobody can reach
/// past the transaction.
mod step_1 {
    use super::*;

    pub async fn transfer(db: &Db, from: i64, to: i64, amount: i64) -> Result<(), BankError> {
        db.run(async |s| {
            let (source, target) = (before::find(&*s, from).await?, before::find(&*s, to).await?);
            before::book(&*s, source, -amount).await?;
            before::book(&*s, target, amount).await
        })
        .await
    }
}

/// Step 2: the signature says what the function is. Bought: `transfer(s, …)` joins a larger unit of work, and
/// `transfer_on(&db, …)` opens one and runs it again when the database asks for it.
mod step_2 {
    use super::*;

    #[db_session(retry = 5)]
    pub async fn transfer(s: &mut Session, from: i64, to: i64, amount: i64) -> Result<(), BankError> {
        let (source, target) = (before::find(&*s, from).await?, before::find(&*s, to).await?);
        before::book(&*s, source, -amount).await?;
        before::book(&*s, target, amount).await
    }
}

/// Step 3: tracked objects. Bought: one object a row, changes found by themselves and sent in a few statements, and
/// objects that go back with the block that failed.
mod step_3 {
    use super::*;

    pub async fn find(s: &mut Session, id: i64) -> Result<Tracked<account::Entity>, BankError> {
        s.get::<account::Entity>(id).await?.ok_or(BankError::NoAccount(id))
    }

    #[atomic]
    pub async fn book(s: &mut Session, account: &Tracked<account::Entity>, amount: i64) -> Result<(), BankError> {
        let balance = account.balance() + amount;
        account.set_balance(balance);
        let entry = s.add(entry::ActiveModel { amount: Set(amount), ..Default::default() });
        entry.set_account(account)?;
        if balance < 0 {
            // The entry and the balance above are undone with this block, in memory too.
            return Err(BankError::Overdrawn { account: account.id(), balance: balance - amount });
        }
        Ok(())
    }

    #[db_session(retry = 5)]
    pub async fn transfer(s: &mut Session, from: i64, to: i64, amount: i64) -> Result<(), BankError> {
        let (source, target) = (find(s, from).await?, find(s, to).await?);
        book(s, &source, -amount).await?;
        book(s, &target, amount).await
    }
}

/// Both balances, by SeaORM alone.
async fn balances(db: &DatabaseConnection) -> Result<Vec<i64>, DbErr> {
    Ok(account::Entity::find().all(db).await?.into_iter().map(|account| account.balance).collect())
}

#[tokio::main]
async fn main() -> Result<(), BankError> {
    // `Db::from(connection)` takes the pool that the service already has.
    let db = Db::connect("sqlite::memory:").await?;
    let pool = db.connection();
    let schema = Schema::new(db.backend());
    pool.execute(&schema.create_table_from_entity(account::Entity)).await?;
    pool.execute(&schema.create_table_from_entity(entry::Entity)).await?;
    for (owner, balance) in [("Ada", 1_000), ("Grace", 0)] {
        account::ActiveModel { owner: Set(owner.to_owned()), balance: Set(balance), ..Default::default() }
            .insert(pool)
            .await?;
    }

    before::transfer(pool, 1, 2, 100).await?;
    println!("plain SeaORM:            {:?}", balances(pool).await?);
    step_1::transfer(&db, 1, 2, 100).await?;
    println!("1. in a unit of work:    {:?}", balances(pool).await?);
    step_2::transfer_on(&db, 1, 2, 100).await?;
    println!("2. as a session function: {:?}", balances(pool).await?);
    step_3::transfer_on(&db, 1, 2, 100).await?;
    println!("3. with tracked objects: {:?}", balances(pool).await?);
    assert_eq!(balances(pool).await?, [600, 400]);

    // A caller can now put several steps, old and new, into one unit of work …
    db.run(async |s| -> Result<(), BankError> {
        step_2::transfer(s, 1, 2, 50).await?;
        step_3::transfer(s, 1, 2, 50).await?;
        // … try one that fails, and go on.
        let refused = step_3::transfer(s, 1, 2, 10_000).await;
        assert!(matches!(refused, Err(BankError::Overdrawn { account: 1, .. })));
        assert_eq!(step_3::find(s, 1).await?.balance(), 500, "the object went back with the block");
        Ok(())
    })
    .await?;
    assert_eq!(balances(pool).await?, [500, 500]);
    println!("old and new in one unit: {:?}", balances(pool).await?);

    // Plain SeaORM keeps working beside it.
    let ada = account::Entity::find().filter(account::Column::Owner.eq("Ada")).one(pool).await?;
    let ada = ada.ok_or(BankError::NoAccount(1))?;
    println!("entries of {}: {}", ada.owner, ada.find_related(entry::Entity).count(pool).await?);
    Ok(())
}
