//! Makes a failing program smaller, and shows it.

use std::sync::Mutex;

use super::{
    program::{Case, Step, What},
    run::{self, Outcome, Places},
};

/// The smallest program found that still fails, as a text.
pub async fn smallest(case: Case, what: String, places: &Places) -> String {
    let (seed, backend) = (case.seed, case.backend);
    let (mut case, mut what, mut tries) = (case, what, 0);
    'smaller: loop {
        for candidate in smaller(&case) {
            tries += 1;
            if tries > 600 {
                break 'smaller;
            }
            if let Outcome::Different(found) = run::run(&candidate, places, &Mutex::new(Vec::new())).await {
                (case, what) = (candidate, found);
                continue 'smaller;
            }
        }
        break;
    }
    let log = Mutex::new(Vec::new());
    let again = run::run(&case, places, &log).await;
    let log = log.into_inner().unwrap();
    format!("{backend:?} seed {seed}: {what}\n{}(once more: {again:?})", show(&case, &log))
}

/// The program's tables, and what was done so far.
pub fn show(case: &Case, log: &[String]) -> String {
    let mut text = format!("  optimistic {}, show_values {}\n", case.optimistic, case.show_values);
    case.surroundings.before.iter().for_each(|statement| text += &format!("  {statement};\n"));
    for table in &case.tables {
        table.statements.iter().for_each(|statement| text += &format!("  {statement};\n"));
    }
    case.surroundings.after.iter().for_each(|statement| text += &format!("  {statement};\n"));
    for (at, line) in log.iter().enumerate() {
        match (at, log.len() - at) {
            (0..20, _) | (_, 0..40) => text += &format!("    {line}\n"),
            (20, left) => text += &format!("    … {} more …\n", left - 39),
            _ => {}
        }
    }
    text
}

fn smaller(case: &Case) -> Vec<Case> {
    let mut found: Vec<Case> = shorter(&case.steps).into_iter().map(|steps| Case { steps, ..case.clone() }).collect();
    for (at, table) in case.tables.iter().enumerate() {
        for statement in (1..table.statements.len()).rev() {
            let mut without = case.clone();
            without.tables[at].statements.remove(statement);
            found.push(without);
        }
    }
    for statement in (0..case.surroundings.after.len()).rev() {
        let mut without = case.clone();
        without.surroundings.after.remove(statement);
        found.push(without);
    }
    if case.optimistic {
        found.push(Case { optimistic: false, ..case.clone() });
    }
    if case.show_values {
        found.push(Case { show_values: false, ..case.clone() });
    }
    found
}

/// The steps with some left out: halves first, then each alone, then what stands in them.
fn shorter(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut found = Vec::new();
    if steps.len() > 3 {
        found.push(steps[..steps.len() / 2].to_vec());
        found.push(steps[steps.len() / 2..].to_vec());
    }
    for at in (0..steps.len()).rev() {
        found.push(steps.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, step)| step.clone()).collect());
    }
    for (at, step) in steps.iter().enumerate() {
        let mut with = |what: What| {
            let mut steps = steps.to_vec();
            steps[at].what = what;
            found.push(steps);
        };
        match &step.what {
            What::Block { steps: inner, good } => {
                shorter(inner).into_iter().for_each(|steps| with(What::Block { steps, good: *good }));
            }
            What::Add { entity, rows } if *rows > 1 => {
                [1, 2, 3, rows / 2]
                    .into_iter()
                    .filter(|n| n < rows)
                    .for_each(|rows| with(What::Add { entity: *entity, rows }));
            }
            What::Set { entity, rows } if *rows > 1 => with(What::Set { entity: *entity, rows: 1 }),
            What::Delete { entity, rows } if *rows > 1 => with(What::Delete { entity: *entity, rows: 1 }),
            _ => {}
        }
    }
    found
}
