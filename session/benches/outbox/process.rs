//! Dispatchers in processes of their own: this program again, told by its standard input when to run and to stop, and saying
//! on its standard output how many events have come.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sea_orm::ConnectOptions;
use sea_session::outbox::{Delivery, Event, Handler, Unavailable};
use sea_session::prelude::*;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use crate::stream::dispatcher;

const CHILD: &str = "OUTBOX_BENCH_CHILD";
const CHILDS_BATCH: &str = "OUTBOX_BENCH_BATCH";

pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Says how many have come.
struct Say;

#[async_trait::async_trait]
impl Handler for Say {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        say(&events.len().to_string());
        Ok(vec![Delivery::Done; events.len()])
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent listens");
}

/// The child's life: `run`, `stop`, and so on, until its input ends.
pub fn child() {
    let url = std::env::var(CHILD).expect("a URL");
    let batch = std::env::var(CHILDS_BATCH).ok().and_then(|batch| batch.parse().ok()).expect("a number");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut options = ConnectOptions::new(url);
        options.max_connections(3).min_connections(3).test_before_acquire(false);
        let db = Db::connect(options).await.expect("sessions");
        let (tell, mut told) = mpsc::unbounded_channel();
        std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        say("ready");
        while told.recv().await.is_some() {
            let told = async { drop(told.recv().await) };
            dispatcher(&db, Say, batch).run(told).await;
            say("stopped");
        }
    });
}

/// Some children.
pub struct Crew {
    members: Vec<(Child, ChildStdin)>,
    said: mpsc::UnboundedReceiver<String>,
    running: usize,
}

impl Crew {
    /// Starts so many children, which wait; each claims so many events at a time.
    pub async fn start(url: &str, children: usize, batch: usize) -> Self {
        let (say, said) = mpsc::unbounded_channel();
        let mut crew = Self { members: Vec::new(), said, running: 0 };
        for _ in 0..children {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command
                .env(CHILD, url)
                .env(CHILDS_BATCH, batch.to_string())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true);
            let mut child = command.spawn().expect("a child");
            let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
            tokio::spawn(listen(lines, say.clone()));
            let input = child.stdin.take().expect("a pipe");
            crew.members.push((child, input));
        }
        crew.expect("ready", children).await;
        crew
    }

    /// Has so many of them run.
    pub async fn run(&mut self, children: usize) {
        for (_, input) in self.members.iter_mut().take(children) {
            input.write_all(b"run\n").await.expect("the child listens");
        }
        self.running = children;
    }

    /// Waits until so many events have come.
    pub async fn arrived(&mut self, events: usize) {
        let mut come = 0;
        while come < events {
            let line = self.hear().await;
            come += line.parse::<usize>().unwrap_or_else(|_| panic!("a child says {line:?}"));
        }
        assert_eq!(come, events, "each event comes once");
    }

    /// Has them stop.
    pub async fn stop(&mut self) {
        for (_, input) in self.members.iter_mut().take(self.running) {
            input.write_all(b"stop\n").await.expect("the child listens");
        }
        let running = std::mem::take(&mut self.running);
        self.expect("stopped", running).await;
    }

    /// The time until so many children have taken so many events.
    pub async fn deliver(&mut self, children: usize, events: usize) -> Duration {
        let start = Instant::now();
        self.run(children).await;
        self.arrived(events).await;
        let time = start.elapsed();
        self.stop().await;
        time
    }

    async fn hear(&mut self) -> String {
        let heard = tokio::time::timeout(Duration::from_secs(60), self.said.recv()).await;
        heard.expect("an answer within a minute").expect("a child that lives")
    }

    async fn expect(&mut self, word: &str, times: usize) {
        for _ in 0..times {
            let line = self.hear().await;
            assert_eq!(line, word);
        }
    }

    /// Ends them.
    pub async fn end(self) {
        for (mut child, input) in self.members {
            drop(input);
            child.wait().await.expect("the child's end");
        }
    }
}

async fn listen<R: tokio::io::AsyncBufRead + Unpin>(mut lines: Lines<R>, say: mpsc::UnboundedSender<String>) {
    while let Ok(Some(line)) = lines.next_line().await {
        if say.send(line).is_err() {
            return;
        }
    }
}
