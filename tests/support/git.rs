//! A git repository that is made anew for a test: the same one for the same seed.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// What the generated commits did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub creations: u64,
    pub edits: u64,
    pub renames: u64,
    pub deletions: u64,
}

/// Runs git in a folder.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("git: {e}"));
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap_or_else(|e| panic!("{e}"))
}

/// Makes a repository whose checkout is in `folder`: `commits` commits of creations, edits, renames (some of them with an
/// edit) and deletions of files, in folders, with names that a pattern or an order by bytes would confuse.
pub fn generate(folder: &Path, commits: usize, seed: u64) -> Done {
    git(folder, &["init", "-q", "-b", "main"]);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut done, mut stream, mut serial) = (Done::default(), String::new(), 0);
    for n in 0..commits {
        let message = format!("commit {n}");
        write!(
            stream,
            "commit refs/heads/main\ncommitter A <a@example.org> {} +0000\ndata {}\n{message}\n",
            1_700_000_000 + n,
            message.len()
        )
        .unwrap_or_else(|e| panic!("{e}"));
        // Each path is touched once a commit: what a commit did to it is then one thing.
        let mut touched: Vec<String> = Vec::new();
        for _ in 0..random.usize(1..=3) {
            change(&mut files, &mut random, &mut stream, &mut touched, &mut serial, &mut done);
        }
    }
    stream.push_str("done\n");
    let mut import = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["fast-import", "--quiet", "--done"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("git: {e}"));
    import
        .stdin
        .take()
        .map(|mut input| input.write_all(stream.as_bytes()))
        .transpose()
        .unwrap_or_else(|e| panic!("{e}"));
    assert!(import.wait().is_ok_and(|status| status.success()), "git fast-import");
    git(folder, &["reset", "-q", "--hard", "main"]);
    done
}

fn change(
    files: &mut BTreeMap<String, Vec<String>>,
    random: &mut fastrand::Rng,
    stream: &mut String,
    touched: &mut Vec<String>,
    serial: &mut u32,
    done: &mut Done,
) {
    let old: Vec<String> = files.keys().filter(|path| !touched.contains(path)).cloned().collect();
    let fresh = path(files, touched, random);
    let choice = if old.len() < 20 { 0 } else { random.u8(..20) };
    match (choice, fresh) {
        (0..=4, Some(path)) => {
            *serial += 1;
            let lines: Vec<String> = (0..random.usize(4..12)).map(|_| line(*serial, random)).collect();
            put(stream, &path, &lines);
            touched.push(path.clone());
            files.insert(path, lines);
            done.creations += 1;
        }
        (15..=17, Some(to)) => {
            let from = old[random.usize(..old.len())].clone();
            let mut lines = files.remove(&from).unwrap_or_default();
            writeln!(stream, "D {from}").unwrap_or_else(|e| panic!("{e}"));
            if random.bool() {
                lines.push(line(0, random));
                done.edits += 1;
            }
            put(stream, &to, &lines);
            touched.extend([from, to.clone()]);
            files.insert(to, lines);
            done.renames += 1;
        }
        (18..=19, _) => {
            let path = old[random.usize(..old.len())].clone();
            files.remove(&path);
            writeln!(stream, "D {path}").unwrap_or_else(|e| panic!("{e}"));
            touched.push(path);
            done.deletions += 1;
        }
        _ => {
            let path = old[random.usize(..old.len())].clone();
            if let Some(lines) = files.get_mut(&path) {
                let at = random.usize(..lines.len());
                lines[at] = line(0, random);
                put(stream, &path, lines);
                touched.push(path);
                done.edits += 1;
            }
        }
    }
}

/// A line that no other file has: so that `git` takes no two files for one.
fn line(serial: u32, random: &mut fastrand::Rng) -> String {
    const WORDS: [&str; 6] = ["apple", "Zürich", "100%", "under_score", "crab 🦀", "quote'\""];
    format!("{serial} {:016x} {}", random.u64(..), WORDS[random.usize(..WORDS.len())])
}

fn put(stream: &mut String, path: &str, lines: &[String]) {
    let text = lines.join("\n") + "\n";
    write!(stream, "M 100644 inline {path}\ndata {}\n{text}\n", text.len()).unwrap_or_else(|e| panic!("{e}"));
}

/// A path that is free: no file there, above or below.
fn path(files: &BTreeMap<String, Vec<String>>, touched: &[String], random: &mut fastrand::Rng) -> Option<String> {
    const NAMES: [&str; 9] = ["a", "a_b", "aXb", "a-b", "a%25", "b.rs", "Zürich", "src", "lib"];
    let depth = random.usize(1..=4);
    let parts: Vec<&str> = (0..depth).map(|_| NAMES[random.usize(..NAMES.len())]).collect();
    let path = format!("{}{}.txt", parts.join("/"), random.u8(..4));
    let meets = |other: &String| {
        other == &path || other.starts_with(&format!("{path}/")) || path.starts_with(&format!("{other}/"))
    };
    (!files.keys().chain(touched).any(meets)).then_some(path)
}
