//! What a commit means for the store: which nodes go, move and are written, in an order that never meets itself.
//!
//! Pure: it knows paths, URIs and texts, and neither git nor a database.

use std::collections::{BTreeMap, HashSet};

use super::log::{Change, Content};
use crate::{store::Refusal, uri::Uri};

/// The files that lie in the store, by URI: the path of each.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, String>,
}

/// A file to write.
#[derive(Debug, PartialEq)]
pub(super) struct File {
    pub(super) uri: Uri,
    pub(super) path: String,
    pub(super) text: String,
}

/// What one commit does, in this order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) deletes: Vec<Uri>,
    pub(super) moves: Vec<(Uri, Uri)>,
    pub(super) writes: Vec<File>,
    pub(super) refused: Vec<Refusal>,
}

/// A rename whose file lies in the store.
struct Rename {
    from: Uri,
    to: File,
    same: bool,
}

impl Tree {
    /// What lies in the store of these paths, after earlier runs.
    pub(super) fn of(target: &Uri, paths: &[String], present: &HashSet<String>) -> Self {
        let mut tree = Self::default();
        for path in paths {
            if let Ok(uri) = place(target, path).map(|uri| uri.to_string())
                && present.contains(&uri)
            {
                tree.files.entry(uri).or_insert_with(|| path.clone());
            }
        }
        tree
    }

    fn hold(&mut self, uri: &Uri, path: &str) {
        self.files.insert(uri.to_string(), path.to_owned());
    }

    /// The plan of a commit; the tree is what it will be when the plan was carried out.
    ///
    /// Git has no path that is a file and a folder at once, but on the way from one commit to the next there may be such a
    /// place. So what goes goes first, and a rename is a move only while nothing lies above or below its places: a move
    /// takes what is below along. What is left over, a swap of two folders say, is a deletion and a creation.
    pub(super) fn plan(&mut self, target: &Uri, changes: Vec<Change>) -> Plan {
        let mut plan = Plan::default();
        let (mut renames, mut writes) = (Vec::new(), Vec::new());
        for change in changes {
            self.sort(target, change, &mut plan, &mut renames, &mut writes);
        }
        for uri in &plan.deletes {
            self.files.remove(uri.as_str());
        }
        for rename in self.move_what_can(renames, &mut plan, &mut writes) {
            self.files.remove(rename.from.as_str());
            plan.deletes.push(rename.from);
            writes.push(rename.to);
        }
        for file in writes {
            match self.files.get(file.uri.as_str()).filter(|held| **held != file.path) {
                Some(held) => {
                    let reason = format!("{} has the same URI as {held:?}", file.uri);
                    plan.refused.push(Refusal { path: file.path, reason });
                }
                None => {
                    self.hold(&file.uri, &file.path);
                    plan.writes.push(file);
                }
            }
        }
        plan
    }

    /// Where a path's file lies, if it is this path's.
    fn held(&self, target: &Uri, path: &str) -> Option<Uri> {
        let uri = place(target, path).ok()?;
        self.files.get(uri.as_str()).filter(|held| *held == path).map(|_| uri)
    }

    fn sort(&self, target: &Uri, change: Change, plan: &mut Plan, renames: &mut Vec<Rename>, writes: &mut Vec<File>) {
        let before = self.held(target, change.from.as_deref().unwrap_or(&change.path));
        let text = match change.now {
            Content::Gone => return plan.deletes.extend(before),
            Content::Text(text) => place(target, &change.path).map(|uri| File { uri, path: change.path.clone(), text }),
            Content::Refused(reason) => Err(reason),
        };
        match (text, before) {
            (Err(reason), before) => {
                // What was a text has become something else.
                plan.deletes.extend(before);
                plan.refused.push(Refusal { path: change.path, reason });
            }
            (Ok(to), Some(from)) if change.from.is_some() => renames.push(Rename { from, to, same: change.same }),
            // Only its mode has changed.
            (Ok(_), Some(_)) if change.same => {}
            (Ok(file), _) => writes.push(file),
        }
    }

    /// Takes renames for moves as long as one of them can go; those that cannot are given back.
    fn move_what_can(&mut self, mut due: Vec<Rename>, plan: &mut Plan, writes: &mut Vec<File>) -> Vec<Rename> {
        loop {
            let before = due.len();
            let mut stuck = Vec::new();
            for rename in due {
                if self.has_below(rename.from.as_str()) || !self.is_free(&rename.to.uri) {
                    stuck.push(rename);
                    continue;
                }
                self.files.remove(rename.from.as_str());
                self.hold(&rename.to.uri, &rename.to.path);
                plan.moves.push((rename.from, rename.to.uri.clone()));
                if !rename.same {
                    writes.push(rename.to);
                }
            }
            if stuck.len() == before || stuck.is_empty() {
                return stuck;
            }
            due = stuck;
        }
    }

    fn has_below(&self, uri: &str) -> bool {
        let (low, high) = (format!("{uri}/"), format!("{uri}0"));
        self.files.range(low..high).next().is_some()
    }

    /// Nothing lies there, nothing below, and no file is a folder above.
    fn is_free(&self, uri: &Uri) -> bool {
        let text = uri.as_str();
        let above = text.match_indices('/').any(|(at, _)| self.files.contains_key(&text[..at]));
        !above && !self.files.contains_key(text) && !self.has_below(text)
    }
}

/// The URI of a path below the target.
fn place(target: &Uri, path: &str) -> Result<Uri, String> {
    let mut uri = target.clone();
    for name in path.split('/') {
        if name.contains(char::REPLACEMENT_CHARACTER) {
            return Err("its name is not UTF-8".into());
        }
        uri = uri.child(name).map_err(|e| format!("its name: {}", e.reason))?;
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Uri {
        Uri::parse("ctx://acme/resources/r").unwrap_or_else(|e| panic!("{e}"))
    }

    fn change(from: Option<&str>, path: &str, now: Content, same: bool) -> Change {
        Change { from: from.map(str::to_owned), path: path.to_owned(), now, same }
    }

    fn text(text: &str) -> Content {
        Content::Text(text.to_owned())
    }

    /// A tree of these paths.
    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::default();
        tree.plan(&target(), paths.iter().map(|path| change(None, path, text(path), false)).collect());
        tree
    }

    fn short(uri: &Uri) -> String {
        uri.as_str().trim_start_matches(target().as_str()).to_owned()
    }

    /// The plan in words.
    fn words(plan: &Plan) -> Vec<String> {
        let mut words: Vec<String> = plan.deletes.iter().map(|uri| format!("rm {}", short(uri))).collect();
        words.extend(plan.moves.iter().map(|(from, to)| format!("mv {} {}", short(from), short(to))));
        words.extend(plan.writes.iter().map(|file| format!("write {}", short(&file.uri))));
        words.extend(plan.refused.iter().map(|refusal| format!("refuse {}", refusal.path)));
        words
    }

    #[test]
    fn v12_git_a_rename_is_a_move_and_an_edit_with_it_a_write() {
        let mut tree = tree(&["a", "b"]);
        let plan = tree
            .plan(&target(), vec![change(Some("a"), "c/d", text("a"), true), change(Some("b"), "e", text("x"), false)]);
        assert_eq!(words(&plan), ["mv /a /c/d", "mv /b /e", "write /e"]);
        assert_eq!(tree.files.len(), 2);
    }

    #[test]
    fn v12_git_a_file_that_becomes_a_folder_and_back() {
        let mut tree = tree(&["a"]);
        let plan = tree.plan(&target(), vec![change(Some("a"), "a/b", text("a"), true)]);
        assert_eq!(words(&plan), ["rm /a", "write /a/b"]);
        let plan = tree.plan(&target(), vec![change(Some("a/b"), "a", text("a"), true)]);
        assert_eq!(words(&plan), ["rm /a/b", "write /a"]);
    }

    #[test]
    fn v12_git_renames_wait_for_each_other_and_circles_are_cut() {
        let mut chain = tree(&["a", "x"]);
        let plan = chain
            .plan(&target(), vec![change(Some("x"), "a/b", text("x"), true), change(Some("a"), "c", text("a"), true)]);
        assert_eq!(words(&plan), ["mv /a /c", "mv /x /a/b"]);
        let mut circle = tree(&["a", "b"]);
        let plan = circle.plan(
            &target(),
            vec![change(Some("a"), "b/x", text("a"), true), change(Some("b"), "a/x", text("b"), true)],
        );
        assert_eq!(words(&plan), ["rm /a", "rm /b", "write /b/x", "write /a/x"]);
    }

    #[test]
    fn v12_git_what_is_no_text_is_refused_and_what_was_one_goes() {
        let mut tree = tree(&["a"]);
        let binary = || Content::Refused("binary".into());
        let plan =
            tree.plan(&target(), vec![change(None, "a", binary(), false), change(None, "b\n", text("x"), false)]);
        assert_eq!(words(&plan), ["rm /a", "refuse a", "refuse b\n"]);
        let plan = tree.plan(
            &target(),
            vec![
                change(None, "a", text("x"), false),
                change(None, "Zu\u{308}rich", text("1"), false),
                change(None, "Z\u{fc}rich", text("2"), false),
            ],
        );
        assert_eq!(words(&plan), ["write /a", "write /Z%C3%BCrich", "refuse Z\u{fc}rich"]);
        let plan = tree.plan(
            &target(),
            vec![change(None, "Z\u{fc}rich", Content::Gone, false), change(None, "a", text("x"), true)],
        );
        assert_eq!(words(&plan), Vec::<String>::new(), "the other's file stays, and a changed mode is no change");
    }
}
