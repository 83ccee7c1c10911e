//! What comes into a store from files, and what is said of it.

use std::{io::IsTerminal as _, path::Path, time::Duration};

use context_store::{GitOptions, GitProgress, ImportOptions, ImportProgress};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Context, Outcome};
use crate::output::json;

impl Context {
    pub(super) async fn import_archive(&self, file: &Path) -> Outcome {
        let bar = progress_bar(!self.json, "lines");
        let mut progress = |state: ImportProgress| {
            bar.set_length(state.files);
            bar.set_position(state.done);
        };
        let report = self.store.import_archive(&self.caller, file, self.uri(0)?, &mut progress).await;
        bar.finish_and_clear();
        self.exported("imported", &report?)
    }

    pub(super) async fn import(&self, folder: &Path, ignored: bool, batch: u32) -> Outcome {
        let options = ImportOptions { gitignore: !ignored, batch: batch as usize, ..ImportOptions::default() };
        let bar = progress_bar(!self.json, "files");
        let mut progress = |state: ImportProgress| {
            bar.set_length(state.files);
            bar.set_position(state.done);
        };
        let report = self.store.import(&self.caller, folder, self.uri(0)?, &options, &mut progress).await;
        bar.finish_and_clear();
        let report = report?;
        if self.json {
            return json(&report);
        }
        let mut text = String::new();
        for refusal in &report.refused {
            text += &format!("refused {:?}: {}\n", refusal.path, refusal.reason);
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

    pub(super) async fn import_git(&self, repository: &Path, options: &GitOptions) -> Outcome {
        let bar = progress_bar(!self.json, "commits");
        let mut progress = |state: GitProgress| {
            bar.set_length(state.commits);
            bar.set_position(state.done);
        };
        let report = self.store.import_git(&self.caller, repository, self.uri(0)?, options, &mut progress).await;
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

    pub(super) async fn conversations(&self, file: &Path) -> Outcome {
        let report = self.store.import_conversations(&self.caller, file, self.uri(0)?, &mut |_| {}).await?;
        if self.json {
            return json(&report);
        }
        let mut text: String = report
            .refused
            .iter()
            .map(|(number, reason)| format!("refused conversation {number}: {reason}\n"))
            .collect();
        text += &format!(
            "{} conversation(s) created, {} unchanged, {} message(s)\n",
            report.created, report.unchanged, report.messages
        );
        Ok(text)
    }

    pub(super) fn exported(&self, what: &str, report: &context_store::ExportReport) -> Outcome {
        if self.json {
            return json(report);
        }
        let mut text: String =
            report.refused.iter().map(|refusal| format!("refused {}: {}\n", refusal.path, refusal.reason)).collect();
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
