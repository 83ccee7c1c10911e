//! What comes into a store from files, and what is said of it.

use std::{io::IsTerminal as _, path::Path, sync::Arc, time::Duration};

use context_store::{
    GitOptions, GitProgress, ImportOptions, ImportProgress, ImportReport, Refusal, Store, StoreError, Uri,
    index::EmbeddedIndex, printable_line,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value};

use super::{Context, Outcome, REFUSED};
use crate::output::json;

impl Context {
    pub(super) async fn import_archive(&self, file: &Path, target: &Uri, keep_identities: bool) -> Outcome {
        let bar = progress_bar(!self.json, "lines");
        let mut progress = |state: ImportProgress| {
            bar.set_length(state.files);
            bar.set_position(state.done);
        };
        let report = match keep_identities {
            true => self.store.restore_archive(&self.caller, file, target, &mut progress).await,
            false => self.store.import_archive(&self.caller, file, target, &mut progress).await,
        };
        bar.finish_and_clear();
        self.exported("imported", &report?)
    }

    pub(super) async fn import(&self, folder: &Path, target: &Uri, ignored: bool, batch: u32) -> Outcome {
        let options = ImportOptions { gitignore: !ignored, batch: batch as usize, ..ImportOptions::default() };
        let bar = progress_bar(!self.json, "files");
        let mut progress = |state: ImportProgress| {
            bar.set_length(state.files);
            bar.set_position(state.done);
        };
        let report = self.store.import(&self.caller, folder, target, &options, &mut progress).await;
        bar.finish_and_clear();
        self.imported(&report?)
    }

    pub(super) async fn import_file(&self, file: &Path, target: &Uri, metadata: Map<String, Value>) -> Outcome {
        let options = ImportOptions::default();
        let report = self.store.import_file(&self.caller, file, target, metadata, &options).await?;
        if !report.refused.is_empty() {
            self.outcome.set(REFUSED);
        }
        self.imported(&report)
    }

    fn imported(&self, report: &ImportReport) -> Outcome {
        if self.json {
            return json(report);
        }
        let mut text = String::new();
        for refusal in &report.refused {
            text += &format!("refused {:?}: {}\n", refusal.path, printable_line(&refusal.reason));
        }
        text += &format!(
            "{} file(s): {} created, {} updated, {} unchanged, {} refused; {} batch(es), {} statements, {:.2} s\n",
            report.files,
            report.created,
            report.updated,
            report.unchanged,
            report.refused.len(),
            report.batches,
            report.statements,
            report.time.as_secs_f64()
        );
        Ok(text)
    }

    pub(super) async fn import_git(&self, repository: &Path, target: &Uri, options: &GitOptions) -> Outcome {
        let bar = progress_bar(!self.json, "commits");
        let mut progress = |state: GitProgress| {
            bar.set_length(state.commits);
            bar.set_position(state.done);
        };
        let report = self.store.import_git(&self.caller, repository, target, options, &mut progress).await;
        bar.finish_and_clear();
        let report = report?;
        if self.json {
            return json(&report);
        }
        let mut text: String =
            report.refused.iter().map(|refusal| format!("refused {:?}: {}\n", refusal.path, refusal.reason)).collect();
        text += &format!(
            "{} commit(s): {} write(s), {} move(s), {} deletion(s); {} commit(s) were there before\n",
            report.commits, report.writes, report.moves, report.deletes, report.before
        );
        Ok(text)
    }

    pub(super) async fn conversations(&self, file: &Path, session: &Uri) -> Outcome {
        let bar = progress_bar(!self.json, "conversations");
        let mut progress = |done: u64| bar.set_position(done);
        let report = self.store.import_conversations(&self.caller, file, session, &mut progress).await;
        bar.finish_and_clear();
        let report = report?;
        if !report.refused.is_empty() {
            self.outcome.set(REFUSED);
        }
        if self.json {
            return json(&report);
        }
        let mut text: String = report
            .refused
            .iter()
            .map(|(number, reason)| format!("refused conversation {number}: {}\n", printable_line(reason)))
            .collect();
        text += &format!(
            "{} conversation(s) created, {} unchanged, {} message(s)\n",
            report.created, report.unchanged, report.messages
        );
        Ok(text)
    }

    pub(super) fn exported(&self, what: &str, report: &context_store::ExportReport) -> Outcome {
        // What was not written or taken is listed, and the command does not end as if it had been (W9).
        if !report.refused.is_empty() {
            self.outcome.set(REFUSED);
        }
        if self.json {
            return json(report);
        }
        let line = |refusal: &Refusal| {
            format!("refused {}: {}\n", printable_line(&refusal.path), printable_line(&refusal.reason))
        };
        let mut text: String = report.refused.iter().map(line).collect();
        text += &format!(
            "{what} {} node(s), {} earlier version(s), {} log(s) and {} edge(s)",
            report.nodes, report.versions, report.logs, report.edges
        );
        text += &match report.unchanged {
            0 => "\n".to_owned(),
            n => format!("; {n} were there already\n"),
        };
        Ok(text)
    }
}

/// Brings the embedded index up to date, and shows how far it is.
pub async fn drain(store: &Store, wanted: bool) -> Result<(), StoreError> {
    let bar = progress_bar(wanted, "events for the index");
    if bar.is_hidden() {
        store.drain().await?;
        return Ok(());
    }
    bar.set_length(store.outbox().metrics().await?.pending);
    let dispatcher = store.dispatcher(Arc::new(EmbeddedIndex::new(store.db())));
    let watched = dispatcher.clone();
    let shown = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bar.set_position(watched.report().delivered);
        }
    };
    let done = tokio::select! {
        done = dispatcher.drain() => done,
        () = shown => return Ok(()),
    };
    bar.finish_and_clear();
    done?;
    Ok(())
}

/// A bar on standard error, where that is a terminal and it is wanted.
pub fn progress_bar(wanted: bool, of: &str) -> ProgressBar {
    if !wanted || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template(&format!("{{bar:32}} {{pos}}/{{len}} {of}, {{per_sec}}, {{eta}} left"))
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
