//! Writes and checks docs/performance.md: of each recorded run (`docs/performance/*.json`, what a benchmark prints with `--json`) a
//! table, and a plot beside it.
//!
//! It measures nothing: what it shows is what was recorded.

use std::{fmt::Write, fs};

use serde_json::Value;

use crate::root;

const PAGE: &str = "docs/performance.md";
const BENCHMARKS: [&str; 3] = ["unit_of_work", "outbox", "store"];
const BACKENDS: [(&str, &str, &str); 3] =
    [("postgres", "PostgreSQL", "#336791"), ("sqlite", "SQLite", "#e07b39"), ("mariadb", "MariaDB", "#4e9a51")];

/// One workload beside one reference, on each backend.
struct Row {
    workload: String,
    n: u64,
    beside: String,
    results: [Option<Value>; BACKENDS.len()],
}

fn text<'v>(line: &'v Value, field: &str) -> &'v str {
    line[field].as_str().unwrap_or_default()
}

fn rows(benchmark: &str) -> Vec<Row> {
    let path = root().join(format!("docs/performance/{benchmark}.json"));
    let recorded = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut rows: Vec<Row> = Vec::new();
    for line in recorded.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let (workload, n) = (text(&line, "workload").to_owned(), line["n"].as_u64().unwrap_or_default());
        let beside = text(&line, if line["unit"].is_null() { "reference" } else { "unit" }).to_owned();
        let backend = BACKENDS.iter().position(|(name, ..)| *name == text(&line, "backend")).expect("a backend");
        // What a reference is called may differ from backend to backend; its place among the workload's does not.
        let free = |row: &&mut Row| row.workload == workload && row.n == n && row.results[backend].is_none();
        match rows.iter_mut().find(free) {
            Some(row) => {
                if row.beside != beside {
                    row.beside = format!("{} / {beside}", row.beside);
                }
                row.results[backend] = Some(line);
            }
            None => {
                let mut results = [const { None }; BACKENDS.len()];
                results[backend] = Some(line);
                rows.push(Row { workload, n, beside, results });
            }
        }
    }
    rows
}

fn cell(result: &Option<Value>) -> String {
    let Some(result) = result else { return String::new() };
    let number = |field: &str| result[field].as_f64();
    let (Some(value), bound) = (number("ratio").or(number("value")), number("bound")) else { return String::new() };
    let shown = if value < 0.1 { format!("{value:.3}") } else { format!("{value:.2}") };
    let shown = if bound.is_some_and(|bound| value > bound) { format!("**{shown}**") } else { shown };
    bound.map_or(shown.clone(), |bound| format!("{shown} ({bound:.2})"))
}

/// The backends that any of these ran on, by their places.
fn measured(rows: &[Row]) -> Vec<usize> {
    (0..BACKENDS.len()).filter(|at| rows.iter().any(|row| row.results[*at].is_some())).collect()
}

fn table(rows: &[Row]) -> String {
    let mut table = "| workload | n | beside |".to_owned();
    let measured = measured(rows);
    measured.iter().for_each(|at| write!(table, " {} |", BACKENDS[*at].1).expect("text"));
    table += "\n|---|---|---|";
    table += &"---|".repeat(measured.len());
    for row in rows {
        write!(table, "\n| `{}` | {} | {} |", row.workload, row.n, row.beside).expect("text");
        measured.iter().for_each(|at| write!(table, " {} |", cell(&row.results[*at])).expect("text"));
    }
    table + "\n"
}

/// Ratios as bars on a logarithmic axis, their bounds as marks.
fn plot(benchmark: &str, rows: &[Row]) -> String {
    const LEFT: f64 = 400.0;
    const WIDTH: f64 = 480.0;
    const BAR: f64 = 9.0;
    const GAP: f64 = 9.0;
    const TOP: f64 = 44.0;
    const LEAST: f64 = 0.05;
    const MOST: f64 = 10.0;
    let x = |ratio: f64| LEFT + WIDTH * (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    let timed: Vec<&Row> =
        rows.iter().filter(|row| row.results.iter().flatten().any(|result| result["ratio"].is_number())).collect();
    let mut marks = String::new();
    let mut y = TOP;
    for row in timed {
        let height = row.results.iter().flatten().count() as f64 * BAR;
        let (label, middle) = (escaped(&format!("{}: {}", row.workload, row.beside)), y + height / 2.0 + 4.0);
        writeln!(marks, r#"<text x="{}" y="{middle:.0}" text-anchor="end">{label}</text>"#, LEFT - 8.0).expect("text");
        for (result, (_, name, colour)) in row.results.iter().zip(BACKENDS) {
            let Some(ratio) = result.as_ref().and_then(|result| result["ratio"].as_f64()) else { continue };
            let (from, to) = (x(1.0).min(x(ratio)), x(1.0).max(x(ratio)));
            let wide = (to - from).max(1.0);
            writeln!(
                marks,
                r#"<rect x="{from:.1}" y="{y:.0}" width="{wide:.1}" height="{}" fill="{colour}"><title>{name}: {ratio:.3}</title></rect>"#,
                BAR - 1.0
            )
            .expect("text");
            if let Some(bound) = result.as_ref().and_then(|result| result["bound"].as_f64()) {
                let at = x(bound);
                writeln!(marks, r##"<path d="M{at:.1} {y:.0}v{}" stroke="#222" stroke-width="2"/>"##, BAR - 1.0)
                    .expect("text");
            }
            y += BAR;
        }
        y += GAP;
    }
    let mut axis = String::new();
    for ratio in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0] {
        let (at, colour) = (x(ratio), if ratio == 1.0 { "#222" } else { "#ccc" });
        writeln!(axis, r#"<path d="M{at:.1} {}V{y:.0}" stroke="{colour}"/>"#, TOP - 6.0).expect("text");
        writeln!(axis, r#"<text x="{at:.1}" y="{}" text-anchor="middle">{ratio}</text>"#, TOP - 12.0).expect("text");
    }
    let mut legend = String::new();
    for (at, backend) in measured(rows).into_iter().enumerate() {
        let (_, name, colour) = BACKENDS[backend];
        let left = LEFT + 200.0 + at as f64 * 110.0;
        writeln!(
            legend,
            r#"<rect x="{left}" y="6" width="10" height="10" fill="{colour}"/><text x="{}" y="15">{name}</text>"#,
            left + 14.0
        )
        .expect("text");
    }
    let (width, height) = (LEFT + WIDTH + 20.0, y + 8.0);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0}" viewBox="0 0 {width} {height:.0}" font-family="sans-serif" font-size="11" fill="#222">
<title>{benchmark}: time of ours / time of the reference; the short lines are bounds</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="8" y="15">{benchmark}: ours / reference (median; short lines: bounds)</text>
{legend}{axis}{marks}</svg>
"##
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The page with this benchmark's table between its lines.
fn with_table(page: &str, benchmark: &str, table: &str) -> String {
    let begin = format!("<!-- {benchmark}: written by `UPDATE=1 cargo test --test rules_page` -->\n");
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("{PAGE} has no line {begin}"));
    let (_, after) = rest.split_once("<!-- end -->\n").unwrap_or_else(|| panic!("{PAGE}: no end of {benchmark}"));
    format!("{before}{begin}\n![{benchmark}](performance/{benchmark}.svg)\n\n{table}\n<!-- end -->\n{after}")
}

#[test]
fn the_page_of_performance_shows_the_recorded_runs() {
    let update = std::env::var_os("UPDATE").is_some();
    let check = |path: &str, wanted: &str| {
        let file = root().join(path);
        if update {
            fs::write(&file, wanted).expect(path);
        }
        let held = fs::read_to_string(&file).unwrap_or_default();
        assert!(held == wanted, "{path} is out of date: UPDATE=1 cargo test --test rules_page");
    };
    let mut page = fs::read_to_string(root().join(PAGE)).expect(PAGE);
    for benchmark in BENCHMARKS {
        let rows = rows(benchmark);
        assert!(!rows.is_empty(), "{benchmark}: nothing was recorded");
        check(&format!("docs/performance/{benchmark}.svg"), &plot(benchmark, &rows));
        page = with_table(&page, benchmark, &table(&rows));
    }
    check(PAGE, &page);
}
