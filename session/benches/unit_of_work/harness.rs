//! Takes samples of two or more ways to do the same work, in turns and in one process, and says how they compare.
//!
//! It never drops a sample, and compares medians only of samples that were taken in the same run.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// One way to do a workload: does it once and says how long the part that counts took.
pub type Side<'a> = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Duration> + 'a>> + 'a>;

/// What the command line asks for.
pub struct Options {
    /// One JSON object a line instead of a table.
    pub json: bool,
    /// Only workloads whose name holds this.
    pub filter: Option<String>,
    /// Only this backend.
    pub backend: Option<String>,
    /// How many samples of each side.
    pub samples: usize,
    /// Leave the references out: for a profiler.
    pub ours_only: bool,
    /// End with an error when a bound is missed.
    pub check: bool,
    /// Do nothing but one operation, so often (`get:1000`): for a counter of instructions.
    pub repeat: Option<(String, usize)>,
    /// Do nothing but write so many large rows in one set.
    pub large: Option<usize>,
}

impl Options {
    /// Reads the arguments; what cargo adds (`--bench`) is ignored.
    fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            json: false,
            filter: None,
            backend: None,
            samples: 11,
            ours_only: false,
            check: false,
            repeat: None,
            large: None,
        };
        let mut arguments = arguments.skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => {}
                "--json" => options.json = true,
                "--ours-only" => options.ours_only = true,
                "--check" => options.check = true,
                "--backend" => options.backend = Some(value()?),
                "--repeat" => {
                    let value = value()?;
                    let (operation, times) = value.split_once(':').ok_or("--repeat needs operation:times")?;
                    let times = times.parse().map_err(|_| "--repeat needs a number of times".to_owned())?;
                    options.repeat = Some((operation.to_owned(), times));
                }
                "--large" => {
                    options.large = Some(value()?.parse().map_err(|_| "--large needs a number of rows".to_owned())?);
                }
                "--samples" => {
                    options.samples = value()?.parse().map_err(|_| "--samples needs a number".to_owned())?;
                }
                other if other.starts_with('-') => return Err(format!("unknown option {other}")),
                filter => options.filter = Some(filter.to_owned()),
            }
        }
        if options.samples < 10 && !options.ours_only {
            return Err("at least 10 samples".to_owned());
        }
        Ok(options)
    }

    /// What the command line of `cargo bench --bench NAME` asks for; `None` if it is not cargo bench that runs this.
    /// A wrong option ends the program.
    pub fn of_bench(name: &str) -> Option<Self> {
        // `cargo test --all-targets` runs this too, without optimisation: nothing is measured then.
        if !std::env::args().any(|argument| argument == "--bench") {
            println!("the benchmark is built, and runs with `cargo bench --bench {name}`");
            return None;
        }
        match Self::read(std::env::args()) {
            Ok(options) => Some(options),
            Err(message) => {
                eprintln!("{message}");
                std::process::exit(2);
            }
        }
    }

    /// Whether a workload was asked for.
    pub fn wants(&self, workload: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| workload.contains(filter.as_str()))
    }
}

/// Median and range of the samples of one side.
#[derive(Clone, Copy)]
pub struct Summary {
    median: f64,
    min: f64,
    max: f64,
}

fn summary(mut samples: Vec<f64>) -> Summary {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    let median = if samples.len() % 2 == 1 { samples[middle] } else { (samples[middle - 1] + samples[middle]) / 2.0 };
    Summary { median, min: samples[0], max: samples[samples.len() - 1] }
}

/// Collects results and prints them as they come.
pub struct Report {
    options: Options,
    backend: &'static str,
    missed: Vec<String>,
}

/// A side from a closure.
pub fn side<'a, F, Fut>(mut work: F) -> Side<'a>
where
    F: FnMut() -> Fut + 'a,
    Fut: Future<Output = Duration> + 'a,
{
    Box::new(move || Box::pin(work()))
}

/// A reference with a bound.
pub fn bounded<'a, F, Fut>(name: &'static str, bound: f64, work: F) -> Reference<'a>
where
    F: FnMut() -> Fut + 'a,
    Fut: Future<Output = Duration> + 'a,
{
    Reference { name, bound: Some(bound), side: side(work) }
}

/// A reference that is shown for comparison only.
pub fn shown<'a, F, Fut>(name: &'static str, work: F) -> Reference<'a>
where
    F: FnMut() -> Fut + 'a,
    Fut: Future<Output = Duration> + 'a,
{
    Reference { name, bound: None, side: side(work) }
}

/// A reference and the most that ours may take of its time; no bound means that it is shown for comparison.
pub struct Reference<'a> {
    /// What it is.
    pub name: &'static str,
    /// The bound.
    pub bound: Option<f64>,
    /// How it is done.
    pub side: Side<'a>,
}

impl Report {
    /// An empty report.
    pub fn new(options: Options) -> Self {
        Self { options, backend: "", missed: Vec::new() }
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Begins the results of a backend.
    pub fn backend(&mut self, backend: &'static str) {
        self.backend = backend;
        if !self.options.json {
            println!("\n{backend}");
            println!(
                "{:<44} {:>7} {:>25} {:>25}  {:<38} {:>6} {:>6}",
                "workload", "n", "ours s (min-max)", "reference s (min-max)", "reference", "ratio", "bound"
            );
        }
    }

    /// Runs one workload: a warm-up of each side, then the samples in turns.
    pub async fn compare(&mut self, workload: &str, n: usize, mut ours: Side<'_>, mut references: Vec<Reference<'_>>) {
        if self.options.ours_only {
            for _ in 0..self.options.samples {
                println!("{workload}: {:.4} s", ours().await.as_secs_f64());
            }
            return;
        }
        let mut taken: Vec<Vec<f64>> = vec![Vec::new(); references.len() + 1];
        for round in 0..=self.options.samples {
            for (at, samples) in taken.iter_mut().enumerate() {
                let time = match at {
                    0 => ours().await,
                    _ => (references[at - 1].side)().await,
                };
                // The first round warms caches, prepared statements and the server's memory up.
                if round > 0 {
                    samples.push(time.as_secs_f64());
                }
            }
        }
        let mut summaries = taken.into_iter().map(summary);
        let Some(ours) = summaries.next() else { return };
        for (reference, theirs) in references.iter().zip(summaries) {
            self.result(workload, n, ours, reference.name, theirs, reference.bound);
        }
    }

    fn result(
        &mut self,
        workload: &str,
        n: usize,
        ours: Summary,
        reference: &str,
        theirs: Summary,
        bound: Option<f64>,
    ) {
        let ratio = ours.median / theirs.median;
        // The bounds of SQLite and MariaDB are those of PostgreSQL times 1.3.
        let bound = bound.map(|bound| if self.backend == "postgres" { bound } else { bound * 1.3 });
        let missed = bound.is_some_and(|bound| ratio > bound);
        if missed {
            self.missed.push(format!("{} on {}: {ratio:.3} of {reference}", workload, self.backend));
        }
        if self.options.json {
            let line = serde_json::json!({
                "workload": workload, "backend": self.backend, "n": n,
                "ours_s": ours.median, "ours_min_s": ours.min, "ours_max_s": ours.max,
                "reference": reference, "reference_s": theirs.median,
                "reference_min_s": theirs.min, "reference_max_s": theirs.max,
                "ratio": ratio, "bound": bound, "samples": self.options.samples,
            });
            println!("{line}");
            return;
        }
        let range = |side: Summary| format!("{:.4} ({:.4}-{:.4})", side.median, side.min, side.max);
        let bound = bound.map_or("-".to_owned(), |bound| format!("{bound:.2}"));
        println!(
            "{workload:<44} {n:>7} {:>25} {:>25}  {reference:<38} {ratio:>6.3} {bound:>6}{}",
            range(ours),
            range(theirs),
            if missed { "  MISSED" } else { "" }
        );
    }

    /// A quantity that is counted, not timed.
    pub fn counted(&mut self, workload: &str, n: usize, value: f64, unit: &str, bound: f64) {
        let missed = value > bound;
        if missed {
            self.missed.push(format!("{} on {}: {value:.1} {unit}", workload, self.backend));
        }
        if self.options.json {
            let line = serde_json::json!({
                "workload": workload, "backend": self.backend, "n": n, "value": value, "unit": unit, "bound": bound,
            });
            println!("{line}");
            return;
        }
        println!("{workload:<44} {n:>7} {value:>25.1} {unit:<66} {bound:>6.0}{}", if missed { "  MISSED" } else { "" });
    }

    /// Lists the bounds that were missed; whether the process should fail for them.
    pub fn finish(self) -> bool {
        if !self.options.json {
            println!();
            for missed in &self.missed {
                println!("missed: {missed}");
            }
        }
        self.options.check && !self.missed.is_empty()
    }
}
