//! What the database makes of a column (D4).

use super::*;

pub(super) const COMPUTED: [(Backend, &str); 5] = [
    (
        Backend::Postgres,
        "CREATE TABLE person (id bigint PRIMARY KEY, first text NOT NULL, last text NOT NULL, \
         full_name text GENERATED ALWAYS AS (first || ' ' || last) STORED)",
    ),
    (
        Backend::Sqlite,
        "CREATE TABLE person (id INTEGER PRIMARY KEY, first text NOT NULL, last text NOT NULL, \
         full_name text GENERATED ALWAYS AS (first || ' ' || last) STORED)",
    ),
    (
        Backend::Sqlite,
        "CREATE TABLE person (id INTEGER PRIMARY KEY, first text NOT NULL, last text NOT NULL, \
         full_name text GENERATED ALWAYS AS (first || ' ' || last) VIRTUAL)",
    ),
    (
        Backend::MariaDb,
        "CREATE TABLE person (id bigint PRIMARY KEY, first text NOT NULL, last text NOT NULL, \
         full_name text GENERATED ALWAYS AS (concat(first, ' ', last)) STORED)",
    ),
    (
        Backend::MariaDb,
        "CREATE TABLE person (id bigint PRIMARY KEY, first text NOT NULL, last text NOT NULL, \
         full_name varchar(200) GENERATED ALWAYS AS (concat(first, ' ', last)) VIRTUAL)",
    ),
];

#[test]
fn d4_computed_columns_are_read_back_and_never_written() {
    for (backend, table) in COMPUTED {
        sizes(backend, &[table], async |db: Db, n| {
            let n = i64::try_from(n).unwrap();
            db.session()
                .optimistic()
                .run(async |s: &mut Session| -> Done {
                    let people: Vec<_> = (0..n).map(|id| s.add(person(id, "ann", "lee"))).collect();
                    s.flush().await?;
                    assert!(people.iter().all(|person| person.full_name() == "ann lee"));
                    people.iter().for_each(|person| _ = person.set_first("zoe"));
                    s.flush().await?;
                    assert!(people.iter().all(|person| person.full_name() == "zoe lee"));
                    people.iter().for_each(|person| _ = person.set_last("poe").set_full_name("not mine"));
                    s.flush().await?;
                    assert!(people.iter().all(|person| person.full_name() == "zoe poe"));
                    s.delete(&people[0]);
                    let again = s.add(person(0, "new", "one"));
                    s.flush().await?;
                    assert_eq!(again.full_name(), "new one");
                    let merged = person::Model { id: -1, first: "x".into(), last: "y".into(), full_name: "z".into() };
                    let merged = s.merge::<person::Entity>(merged).await?;
                    s.flush().await?;
                    assert_eq!(merged.full_name(), "x y");
                    Ok(())
                })
                .await
        });
    }
}

#[test]
fn d4_an_object_that_is_added_again_leaves_computed_columns_out() {
    for (backend, table) in COMPUTED {
        on(backend, &[table], async |db: Db| {
            let mut s = db.begin().await?;
            let savepoint = s.savepoint().await?;
            let ann = s.add(person(1, "ann", "lee"));
            s.flush().await?;
            s.rollback_to(savepoint).await?;
            s.add_again(&ann)?;
            s.flush().await?;
            assert_eq!(ann.full_name(), "ann lee");
            s.commit().await
        });
    }
}

#[test]
fn d4_what_was_rounded_padded_or_cut_is_in_the_object() {
    let postgres = "CREATE TABLE log (id bigserial PRIMARY KEY, at timestamptz NOT NULL, whole timestamptz(0) NOT NULL, \
                    ratio double precision NOT NULL, code char(5) NOT NULL, short varchar(4) NOT NULL)";
    let sqlite = "CREATE TABLE log (id INTEGER PRIMARY KEY, at text NOT NULL, whole text NOT NULL, ratio double NOT NULL, \
                  code text NOT NULL, short text NOT NULL)";
    let mariadb = "CREATE TABLE log (id bigint AUTO_INCREMENT PRIMARY KEY, at datetime(6) NOT NULL, whole datetime(0) NOT NULL, \
                   ratio double precision NOT NULL, code char(5) NOT NULL, short varchar(4) NOT NULL)";
    for (backend, table) in [(Backend::Postgres, postgres), (Backend::Sqlite, sqlite), (Backend::MariaDb, mariadb)] {
        let short = if backend == Backend::Sqlite { "ab " } else { "ab    " };
        sizes(backend, &[table], async |db: Db, n| {
            let moment: DateTimeUtc = "1985-07-03T12:30:45.123456789Z".parse().unwrap();
            db.session()
                .optimistic()
                .run(async |s: &mut Session| -> Done {
                    let draft = || log::ActiveModel {
                        at: Set(moment),
                        whole: Set(moment),
                        ratio: Set(-0.0),
                        code: Set("ab".into()),
                        short: Set(short.into()),
                        ..Default::default()
                    };
                    let logs: Vec<_> = (0..n).map(|_| s.add(draft())).collect();
                    for round in 0..2 {
                        s.flush().await?;
                        for log in &logs {
                            let row = log::Entity::find_by_id(log.id()).one(s).await?.unwrap();
                            assert_eq!(format!("{:?}", log.model()), format!("{row:?}"), "round {round}");
                        }
                        // What is held is what was read: nothing has changed behind anybody's back (P5).
                        assert_eq!(log::Entity::find().load(s).await?.len(), n);
                        for log in &logs {
                            log.set_whole(moment)
                                .set_at(moment)
                                .set_code("c")
                                .set_ratio(f64::from(round))
                                .set_short(short);
                        }
                    }
                    Ok(())
                })
                .await
        });
    }
}

#[test]
fn d4_what_a_trigger_makes_of_a_row_is_in_the_object() {
    let before = trigger("NEW.name := upper(NEW.name); RETURN NEW;");
    let before_both = fires("BEFORE INSERT OR UPDATE");
    let after = trigger("UPDATE item SET name = name || '!' WHERE id = NEW.id AND name NOT LIKE '%!'; RETURN NULL;");
    let after_both = fires("AFTER INSERT OR UPDATE");
    let sqlite = [
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "CREATE TRIGGER i AFTER INSERT ON item BEGIN UPDATE item SET name = name || '!' WHERE id = NEW.id; END",
        "CREATE TRIGGER u AFTER UPDATE ON item WHEN NEW.name NOT LIKE '%!' \
         BEGIN UPDATE item SET name = name || '!' WHERE id = NEW.id; END",
    ];
    let mariadb = [
        "CREATE TABLE item (id bigint AUTO_INCREMENT PRIMARY KEY, name text NOT NULL)",
        "CREATE TRIGGER i BEFORE INSERT ON item FOR EACH ROW SET NEW.name = concat(NEW.name, '!')",
        "CREATE TRIGGER u BEFORE UPDATE ON item FOR EACH ROW SET NEW.name = upper(NEW.name)",
    ];
    let tables: [(Backend, Vec<&str>); 4] = [
        (Backend::MariaDb, mariadb.to_vec()),
        (Backend::Postgres, vec![ITEM, &before, &before_both]),
        (Backend::Postgres, vec![ITEM, &after, &after_both]),
        (Backend::Sqlite, sqlite.to_vec()),
    ];
    for (backend, statements) in tables {
        for size in [1, 3, 1_100] {
            on(backend, &statements, async |db: Db| {
                db.run(async |s: &mut Session| -> Done {
                    let items: Vec<_> = (0..size).map(|n| s.add(named(&format!("n{n}")))).collect();
                    for name in ["first", "second"] {
                        s.flush().await?;
                        let rows = item::Entity::find().all(s).await?;
                        let told = items.iter().map(|item| (item.id(), item.name())).collect();
                        assert_eq!(sorted(told), sorted(rows.into_iter().map(|row| (row.id, row.name)).collect()));
                        items.iter().for_each(|item| _ = item.set_name(name));
                    }
                    Ok(())
                })
                .await
            });
        }
    }
}
