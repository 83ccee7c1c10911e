//! In the shape of SeaORM's bakery example, rewritten: schema builders, foreign keys, an enumeration that is a type on
//! PostgreSQL, probes, rows written through the builder.

use sea_orm_migration::{
    prelude::*,
    sea_orm::{ConnectionTrait, DbBackend},
    sea_query::extension::postgres::Type,
};

pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Shops), Box::new(Cakes), Box::new(Opened)]
    }
}

#[derive(DeriveIden)]
enum Bakery {
    Table,
    Id,
    Name,
    Margin,
    Open,
}

#[derive(DeriveIden)]
enum Cake {
    Table,
    Id,
    Name,
    BakeryId,
    Size,
}

#[derive(DeriveIden)]
struct CakeSize;

struct Shops;

impl MigrationName for Shops {
    fn name(&self) -> &str {
        "m20220101_000001_create_bakery_table"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Shops {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Bakery::Table)
                    .if_not_exists()
                    .col(ColumnDef::new(Bakery::Id).integer().not_null().auto_increment().primary_key())
                    .col(ColumnDef::new(Bakery::Name).string_len(80).not_null())
                    .col(ColumnDef::new(Bakery::Margin).double().not_null().default(0.25))
                    .to_owned(),
            )
            .await?;
        let insert = Query::insert()
            .into_table(Bakery::Table)
            .columns([Bakery::Name, Bakery::Margin])
            .values_panic(["First".into(), 0.5.into()])
            .values_panic(["Second".into(), 0.125.into()])
            .to_owned();
        manager.get_connection().execute(&insert).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Bakery::Table).to_owned()).await
    }
}

struct Cakes;

impl MigrationName for Cakes {
    fn name(&self) -> &str {
        "m20220102_000001_create_cake_table"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Cakes {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_table("bakery").await? {
            return Err(DbErr::Custom("the bakery must come first".into()));
        }
        if manager.get_database_backend() == DbBackend::Postgres {
            manager
                .create_type(Type::create().as_enum(CakeSize).values(["small", "large"].map(Alias::new)).to_owned())
                .await?;
        }
        manager
            .create_table(
                Table::create()
                    .table(Cake::Table)
                    .col(ColumnDef::new(Cake::Id).big_integer().not_null().auto_increment().primary_key())
                    .col(ColumnDef::new(Cake::Name).string().not_null())
                    .col(ColumnDef::new(Cake::BakeryId).integer())
                    .col(ColumnDef::new(Cake::Size).enumeration(CakeSize, ["small", "large"].map(Alias::new)))
                    .foreign_key(
                        ForeignKey::create()
                            .name("fk-cake-bakery")
                            .from(Cake::Table, Cake::BakeryId)
                            .to(Bakery::Table, Bakery::Id)
                            .on_delete(ForeignKeyAction::Cascade),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(Index::create().name("idx-cake-name").table(Cake::Table).col(Cake::Name).unique().to_owned())
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Cake::Table).to_owned()).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            manager.drop_type(Type::drop().name(CakeSize).to_owned()).await?;
        }
        Ok(())
    }
}

struct Opened;

impl MigrationName for Opened {
    fn name(&self) -> &str {
        "m20220103_000001_add_open"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Opened {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column("bakery", "open").await? {
            manager
                .alter_table(
                    Table::alter()
                        .table(Bakery::Table)
                        .add_column(ColumnDef::new(Bakery::Open).boolean().not_null().default(true))
                        .to_owned(),
                )
                .await?;
        }
        // Reads what is there and writes accordingly, as data migrations do.
        let names = Query::select().column(Bakery::Name).from(Bakery::Table).to_owned();
        for row in manager.get_connection().query_all(&names).await? {
            let name: String = row.try_get("", "name")?;
            let update = Query::update()
                .table(Bakery::Table)
                .value(Bakery::Open, name == "First")
                .and_where(Expr::col(Bakery::Name).eq(name))
                .to_owned();
            manager.get_connection().execute(&update).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.alter_table(Table::alter().table(Bakery::Table).drop_column(Bakery::Open).to_owned()).await
    }
}
