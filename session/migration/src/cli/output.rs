//! What the command prints: tables and lines for people on a terminal, JSON for programs. Progress goes to standard
//! error, results to standard output.

use std::{
    fmt,
    io::{self, Write},
};

use comfy_table::{ContentArrangement, Table, presets};

use crate::{
    doctor::Complaint,
    findings::{Finding, Status},
    options::Event,
    report::{Plan, Report},
    state::State,
};

/// A line of results. A reader that has gone (`| head`) has seen enough.
pub(super) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

pub(super) fn event(event: &Event, quiet: bool) {
    if !quiet {
        eprintln!("{event}");
    }
}

pub(super) fn report(report: &Report) {
    match report.steps.as_slice() {
        [] => say(format_args!("nothing to do")),
        steps => {
            let total: std::time::Duration = steps.iter().map(|step| step.took).sum();
            say(format_args!("{} migration(s) in {total:.1?}", steps.len()));
        }
    }
}

pub(super) fn plans(plans: &[Plan], number: u32) {
    for plan in plans.iter().take(usize::try_from(number).unwrap_or(usize::MAX)) {
        say(format_args!("{plan}"));
    }
}

pub(super) fn status(status: &[Status], json: bool) {
    if json {
        return print_json(status);
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["Migration", "State", "Applied", "Took", "Findings"]);
    for one in status {
        let applied = one.applied_at.and_then(|at| chrono::DateTime::from_timestamp(at, 0));
        let findings: Vec<String> = one.findings.iter().map(Finding::to_string).collect();
        table.add_row([
            one.name.clone(),
            state(one.state).to_owned(),
            applied.map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default(),
            one.duration_ms.map(|ms| format!("{ms} ms")).unwrap_or_default(),
            findings.join("; "),
        ]);
    }
    say(format_args!("{table}"));
}

fn state(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Applied => "applied",
        State::Applying => "interrupted going up",
        State::Reverting => "interrupted going down",
    }
}

pub(super) fn complaints(complaints: &[Complaint], json: bool) {
    if json {
        return print_json(complaints);
    }
    for complaint in complaints {
        say(format_args!("{complaint}"));
    }
    if complaints.is_empty() {
        say(format_args!("the schema is what the entities and the migrations say"));
    }
}

fn print_json<T: serde::Serialize + ?Sized>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => say(format_args!("{text}")),
        Err(error) => eprintln!("error: {error}"),
    }
}
