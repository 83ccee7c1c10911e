//! How well a search finds what answers a question: texts, questions, and how many of the answers are among the first.

use std::{collections::BTreeMap, time::Duration, time::Instant};

use context_store::{Caller, Paging, Role, SearchOptions, Store, StoreError, Uri, Write};
use sea_session::Session;

/// A text that may be found.
pub struct Text {
    /// What the questions call it.
    pub id: String,
    /// The name of its node: letters and digits.
    pub name: String,
    /// What is written there.
    pub content: String,
}

/// A question, and the texts that answer it.
pub struct Asked {
    pub text: String,
    pub answers: Vec<String>,
    pub category: String,
}

/// Texts of one account, and what is asked of them.
pub struct Corpus {
    pub account: String,
    pub texts: Vec<Text>,
    pub questions: Vec<Asked>,
}

/// What was found, summed up over questions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Questions.
    pub questions: u32,
    /// Those of which a text that answers is among the first 5, the first 10.
    pub at: [u32; 2],
    /// The share of the answering texts that is among the first 5, the first 10, summed up.
    pub share: [f64; 2],
    /// Questions to which nothing came back.
    pub empty: u32,
}

impl Found {
    fn add(&mut self, places: &[Option<usize>], empty: bool) {
        self.questions += 1;
        self.empty += u32::from(empty);
        for (n, first) in [5, 10].into_iter().enumerate() {
            let among = places.iter().flatten().filter(|place| **place < first).count();
            self.at[n] += u32::from(among > 0);
            self.share[n] += among as f64 / places.len().max(1) as f64;
        }
    }

    /// The share of questions with an answer among the first 5, the first 10.
    pub fn recall(&self) -> [f64; 2] {
        self.at.map(|at| f64::from(at) / f64::from(self.questions.max(1)))
    }

    /// The mean share of the answering texts that is among the first 5, the first 10.
    pub fn evidence(&self) -> [f64; 2] {
        self.share.map(|share| share / f64::from(self.questions.max(1)))
    }

    fn merge(&mut self, other: &Found) {
        self.questions += other.questions;
        self.empty += other.empty;
        for n in 0..2 {
            self.at[n] += other.at[n];
            self.share[n] += other.share[n];
        }
    }
}

/// What a search made of several corpora.
#[derive(Default)]
pub struct Measured {
    /// By category.
    pub categories: BTreeMap<String, Found>,
    /// How long each search took.
    pub times: Vec<Duration>,
}

impl Measured {
    /// All categories together.
    pub fn all(&self) -> Found {
        let mut all = Found::default();
        self.categories.values().for_each(|found| all.merge(found));
        all
    }

    /// A percentile of the times.
    pub fn time(&self, percent: usize) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() * percent / 100).copied().unwrap_or_default()
    }
}

fn caller(account: &str) -> Caller {
    Caller::user(account, "reader").with_role(Role::Admin)
}

/// Writes a corpus's texts, each a node of its own, and brings the index up to date.
pub async fn fill(store: &Store, corpus: &Corpus) {
    let caller = caller(&corpus.account);
    for some in corpus.texts.chunks(100) {
        let written = store.unit(&caller).run(async |s: &mut Session| -> Result<(), StoreError> {
            for text in some {
                let place = Uri::parse(&format!("ctx://{}/resources/{}", corpus.account, text.name))?;
                store.within(s, &caller).write(&place, &Write::of(text.content.as_str())).await?;
            }
            Ok(())
        });
        written.await.unwrap_or_else(|e| panic!("{e}"));
    }
    store.drain().await.unwrap_or_else(|e| panic!("{e}"));
}

/// Asks every question of a corpus that was written.
pub async fn ask(store: &Store, corpus: &Corpus, measured: &mut Measured) {
    let caller = caller(&corpus.account);
    let options = SearchOptions { paging: Paging::first(10), ..SearchOptions::default() };
    let search = async |question: &str| {
        let page = store.search(&caller, question, &options).await.unwrap_or_else(|e| panic!("{question}: {e}"));
        page.items.iter().map(|hit| hit.uri.name().into_owned()).collect()
    };
    ask_by(search, corpus, measured).await;
}

/// Asks every question of a corpus by a search that gives the names of the best ten.
pub async fn ask_by(search: impl AsyncFn(&str) -> Vec<String>, corpus: &Corpus, measured: &mut Measured) {
    let name_of: BTreeMap<&str, &str> =
        corpus.texts.iter().map(|text| (text.id.as_str(), text.name.as_str())).collect();
    for asked in &corpus.questions {
        let start = Instant::now();
        let found = search(&asked.text).await;
        measured.times.push(start.elapsed());
        let place_of = |answer: &String| {
            let name = name_of.get(answer.as_str()).unwrap_or_else(|| panic!("no text is called {answer}"));
            found.iter().position(|hit| hit == name)
        };
        let places: Vec<Option<usize>> = asked.answers.iter().map(place_of).collect();
        measured.categories.entry(asked.category.clone()).or_default().add(&places, found.is_empty());
    }
}
