//! Values that the database holds equal although their bytes differ (D5): in junctions, and where the order of a flush depends
//! on them (E1).

use sea_orm::{
    ActiveValue::{NotSet, Set},
    ConnectionTrait, QueryOrder,
    entity::prelude::*,
};
use sea_session::{Error, prelude::*, testing::Backend};

use crate::support::on_tables;

type Done = Result<(), Error>;

mod term {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "term")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        #[sea_orm(unique)]
        pub alias: Option<String>,
        #[sea_orm(unique)]
        pub code: String,
        pub up: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "Entity", from = "Column::Up", to = "Column::Id")]
        Up,
    }

    impl Related<super::topic::Entity> for Entity {
        fn to() -> RelationDef {
            super::term_topic::Relation::Topic.def()
        }

        fn via() -> Option<RelationDef> {
            Some(super::term_topic::Relation::Term.def().rev())
        }
    }
}

mod topic {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "topic")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub area: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub number: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl Related<super::term::Entity> for Entity {
        fn to() -> RelationDef {
            super::term_topic::Relation::Term.def()
        }

        fn via() -> Option<RelationDef> {
            Some(super::term_topic::Relation::Topic.def().rev())
        }
    }
}

mod term_topic {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "term_topic")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub term_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub area: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub number: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::term::Entity", from = "Column::TermId", to = "super::term::Column::Id")]
        Term,
        #[sea_orm(
            belongs_to = "super::topic::Entity",
            from = "(Column::Area, Column::Number)",
            to = "(super::topic::Column::Area, super::topic::Column::Number)"
        )]
        Topic,
    }
}

/// A way in which texts may be equal without being the same.
struct Folding {
    backend: Backend,
    before: Option<&'static str>,
    text: &'static str,
    /// What the junction's columns are, and what stands behind the tables.
    junction: &'static str,
    end: &'static str,
    /// Spells a text otherwise.
    other: fn(&str) -> String,
}

fn foldings() -> [Folding; 9] {
    let upper: fn(&str) -> String = str::to_uppercase;
    let padded: fn(&str) -> String = |text| format!("{text}  ");
    let ci = "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    let on = |backend, before, text, other| Folding { backend, before, text, junction: text, end: "", other };
    let citext = Some("CREATE EXTENSION citext");
    [
        on(Backend::Postgres, None, "char(8)", padded),
        on(Backend::Postgres, citext, "citext", upper),
        on(Backend::Postgres, Some(ci), "text COLLATE ci", upper),
        on(Backend::Sqlite, None, "text COLLATE NOCASE", upper),
        // SQLite's foreign keys compare as the column that they lead to.
        Folding { junction: "text", end: " WITHOUT ROWID", ..on(Backend::Sqlite, None, "text COLLATE NOCASE", upper) },
        on(Backend::Sqlite, None, "text COLLATE RTRIM", padded),
        on(Backend::MariaDb, None, "varchar(60) COLLATE utf8mb4_general_ci", upper),
        // Only spaces at the end do not count.
        on(Backend::MariaDb, None, "varchar(60) COLLATE utf8mb4_bin", padded),
        // Not the connection's set of characters.
        on(Backend::MariaDb, None, "varchar(60) CHARACTER SET latin1 COLLATE latin1_swedish_ci", upper),
    ]
}

impl Folding {
    fn on(&self, test: impl AsyncFn(Db) -> Done) {
        let Folding { text, junction, end, .. } = self;
        let tables = [
            self.before.unwrap_or("SELECT 1").to_owned(),
            format!(
                "CREATE TABLE term (id {text} PRIMARY KEY, alias {text} UNIQUE, code {text} NOT NULL UNIQUE, \
                 up {text} REFERENCES term (id) ON UPDATE NO ACTION){end}"
            ),
            format!(
                "CREATE TABLE topic (area {text} NOT NULL, number integer NOT NULL, PRIMARY KEY (area, number)){end}"
            ),
            format!(
                "CREATE TABLE term_topic (term_id {junction} NOT NULL REFERENCES term (id), area {junction} NOT NULL, \
                 number integer NOT NULL, PRIMARY KEY (term_id, area, number), \
                 FOREIGN KEY (area, number) REFERENCES topic (area, number)){end}"
            ),
        ];
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        on_tables(self.backend, &tables, test);
    }
}

fn term(id: &str, alias: Option<&str>, code: &str) -> term::ActiveModel {
    term::ActiveModel { id: Set(id.into()), alias: Set(alias.map(str::to_owned)), code: Set(code.into()), up: NotSet }
}

/// The terms as (id, alias, code), without spaces at their ends.
async fn terms(s: &mut Session) -> Result<Vec<(String, Option<String>, String)>, Error> {
    let trimmed = |text: String| text.trim_end().to_owned();
    let terms = term::Entity::find().order_by_asc(term::Column::Id).all(s).await?;
    Ok(terms.into_iter().map(|term| (trimmed(term.id), term.alias.map(trimmed), trimmed(term.code))).collect())
}

fn expected(rows: &[(&str, Option<&str>, &str)]) -> Vec<(String, Option<String>, String)> {
    rows.iter().map(|(id, alias, code)| ((*id).into(), alias.map(str::to_owned), (*code).into())).collect()
}

#[test]
fn d5_a_junction_is_matched_as_the_database_compares_its_keys() {
    for folding in foldings() {
        let other = folding.other;
        folding.on(async |db: Db| {
            for (table, values) in [
                ("term (id, code)", "('foo', '1'), ('bar', '2'), ('none', '3')".to_owned()),
                ("topic", "('a', 1), ('b', 1), ('b', 2)".to_owned()),
                (
                    "term_topic",
                    format!("('{}', '{}', 1), ('foo', '{}', 2), ('bar', 'a', 1)", other("foo"), other("a"), other("b")),
                ),
            ] {
                db.connection().execute_unprepared(&format!("INSERT INTO {table} VALUES {values}")).await?;
            }
            db.run(async |s: &mut Session| -> Done {
                let all = term::Entity::find().order_by_asc(term::Column::Code).load(s).await?;
                let before = s.stats().statements;
                let topics = s.load_related(&all, topic::Entity).await?;
                assert!(s.stats().statements - before <= 2, "the pairs and the topics");
                assert_eq!(topics.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 0], "{}", folding.text);
                let one = all[0].related::<topic::Entity>(s).await?;
                assert_eq!(one.len(), 2);
                assert!(one.iter().all(|topic| topics[0].iter().any(|other| Tracked::ptr_eq(topic, other))));
                assert!(all[1].related_one::<topic::Entity>(s).await?.is_some());
                assert!(all[2].related_one::<topic::Entity>(s).await?.is_none());

                // And back, by a key of two columns.
                let topics = topic::Entity::find()
                    .order_by_asc(topic::Column::Area)
                    .order_by_asc(topic::Column::Number)
                    .load(s)
                    .await?;
                let terms = s.load_related(&topics, term::Entity).await?;
                assert_eq!(terms.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0, 1], "{}", folding.text);
                assert_eq!(topics[2].related::<term::Entity>(s).await?.len(), 1);
                assert!(Tracked::ptr_eq(&terms[2][0], &all[0]));
                Ok(())
            })
            .await
        });
    }
}

#[test]
fn f10_pairs_are_attached_and_detached_as_the_database_compares_their_keys() {
    for folding in foldings() {
        let other = folding.other;
        folding.on(async |db: Db| {
            let pair = format!("('{}', '{}', 1)", other("foo"), other("a"));
            for (table, values) in [
                ("term (id, code)", "('foo', '1'), ('bar', '2')"),
                ("topic", "('a', 1), ('b', 1), ('b', 2)"),
                ("term_topic", pair.as_str()),
            ] {
                db.connection().execute_unprepared(&format!("INSERT INTO {table} VALUES {values}")).await?;
            }
            db.run(async |s: &mut Session| -> Done {
                let all = term::Entity::find().order_by_asc(term::Column::Code).load(s).await?;
                let topics = topic::Entity::find().load(s).await?;
                all[0].junction::<topic::Entity>().attach(s, &topics).await?;
                all[1].junction::<topic::Entity>().attach(s, &topics[..1]).await?;
                assert_eq!(term_topic::Entity::find().count(s).await?, 4, "one pair was there already");
                assert_eq!(all[0].related::<topic::Entity>(s).await?.len(), 3);
                all[0].junction::<topic::Entity>().detach(s, &topics).await?;
                assert_eq!(term_topic::Entity::find().count(s).await?, 1);
                assert_eq!(all[1].related::<topic::Entity>(s).await?.len(), 1);
                Ok(())
            })
            .await
        });
    }
}

#[test]
fn e1_a_unique_value_in_another_spelling_is_given_up_before_it_is_taken() {
    for folding in foldings() {
        let other = folding.other;
        folding.on(async |db: Db| {
            db.run(async |s: &mut Session| -> Done {
                for (id, alias, code) in [("a", "one", "c1"), ("b", "two", "c2"), ("c", "three", "c3")] {
                    s.add(term(id, Some(alias), code));
                }
                s.flush().await?;
                let mut all = term::Entity::find().order_by_asc(term::Column::Id).load(s).await?;
                // Two swap, in other spellings.
                all[0].set_alias(Some(other("two")));
                all[1].set_alias(Some(other("one")));
                s.flush().await?;
                // A new row takes what an old one gives up, another what a deleted one had, and a chain moves on.
                all[2].set_code(other("c9"));
                s.add(term("d", None, &other("c3")));
                let gone = all.remove(1);
                s.delete(&gone);
                all[0].set_code(other("c2"));
                s.add(term("e", Some("ONE").filter(|_| other("x") == "X").or(Some("one ")), &other("c1")));
                s.flush().await?;
                let spelled = |text: &str| other(text).trim_end().to_owned();
                let (two, three) = (spelled("two"), "three");
                let one = if other("x") == "X" { "ONE" } else { "one" };
                let codes = ["c2", "c9", "c3", "c1"].map(spelled);
                let rows = [
                    ("a", Some(two.as_str()), codes[0].as_str()),
                    ("c", Some(three), &codes[1]),
                    ("d", None, &codes[2]),
                    ("e", Some(one), &codes[3]),
                ];
                assert_eq!(terms(s).await?, expected(&rows), "{}", folding.text);
                Ok(())
            })
            .await
        });
    }
}

#[test]
fn e1_three_rows_hand_on_what_may_not_be_null_in_other_spellings() {
    for folding in foldings() {
        let other = folding.other;
        folding.on(async |db: Db| {
            db.run(async |s: &mut Session| -> Done {
                ["1", "2", "3"].into_iter().for_each(|n| _ = s.add(term(n, None, &format!("c{n}"))));
                s.flush().await?;
                let all = term::Entity::find().order_by_asc(term::Column::Id).load(s).await?;
                for (at, term) in all.iter().enumerate() {
                    term.set_code(other(&format!("c{}", at + 2)));
                }
                s.flush().await?;
                let codes: Vec<String> = terms(s).await?.into_iter().map(|(.., code)| code).collect();
                let spelled = ["c2", "c3", "c4"].map(|code| other(code).trim_end().to_owned());
                assert_eq!(codes, spelled);
                // Back round, none can be written first: so nothing is.
                let round = async |s: &mut Session| -> Done {
                    all.iter().zip(["c4", "c2", "c3"]).for_each(|(term, code)| _ = term.set_code(code));
                    s.flush().await
                };
                let outcome = s.atomic(round).await;
                assert!(matches!(outcome, Err(Error::Cycle { .. })), "{outcome:?}");
                assert_eq!(terms(s).await?.into_iter().map(|(.., code)| code).collect::<Vec<_>>(), spelled);
                Ok(())
            })
            .await
        });
    }
}

#[test]
fn i2_a_key_that_is_added_again_in_another_spelling_is_the_same_row() {
    for folding in foldings() {
        let other = folding.other;
        folding.on(async |db: Db| {
            db.run(async |s: &mut Session| -> Done {
                s.add(term("foo", None, "c1"));
                s.add(term("bar", None, "c2"));
                s.flush().await?;
                let foo = s.get::<term::Entity>("foo").await?.expect("a row");
                s.delete(&foo);
                let again = s.add(term(&other("foo"), Some("new"), "c1"));
                // What is renamed makes room as well.
                let bar = s.get::<term::Entity>("bar").await?.expect("a row");
                bar.set_id("baz");
                s.flush().await?;
                s.add(term(&other("bar"), None, "c3"));
                s.flush().await?;
                let (foo, bar) = (other("foo"), other("bar"));
                let mut rows =
                    expected(&[(foo.trim_end(), Some("new"), "c1"), (bar.trim_end(), None, "c3"), ("baz", None, "c2")]);
                let mut found = terms(s).await?;
                rows.sort();
                found.sort();
                assert_eq!(found, rows, "{}", folding.text);
                let held = s.get::<term::Entity>("foo").await?.expect("the row, by its old spelling");
                assert!(Tracked::ptr_eq(&held, &again));
                let row = term::Entity::find().filter(term::Column::Code.eq("c1")).one(s).await?.expect("a row");
                assert_eq!(again.id(), row.id, "the object is spelled as its row");
                Ok(())
            })
            .await
        });
    }
}

#[test]
fn e1_what_refers_in_another_spelling_comes_after_its_new_parent_and_before_the_old_one_goes() {
    for folding in foldings() {
        let other = folding.other;
        folding.on(async |db: Db| {
            db.run(async |s: &mut Session| -> Done {
                let below = s.add(term("child", None, "c1"));
                below.set_up(Some(other("parent")));
                s.add(term("parent", None, "c2"));
                s.flush().await?;
                // The parent takes the child's code in another spelling, and both go in the end.
                let parent = s.get::<term::Entity>("parent").await?.expect("a row");
                below.set_code("c3");
                parent.set_code(other("c1"));
                s.flush().await?;
                s.delete(&parent);
                s.delete(&below);
                s.add(term("last", None, "c1"));
                s.flush().await?;
                assert_eq!(terms(s).await?, expected(&[("last", None, "c1")]));
                Ok(())
            })
            .await
        });
    }
}
