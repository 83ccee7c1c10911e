//! Cases that must not compile. What the compiler says is compared with the text beside a case only with the version
//! of rustc that the texts were made with (`rustc-version`, beside this file): another one finds other words for the
//! same refusal. With another version each case must still be refused, and the output says that no text was compared.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::again;

/// The version that made the expected texts. To make them with another one, write its version here first.
const MADE_WITH: &str = include_str!("rustc-version");

/// Tells this test program, started again, in which folder its cases are.
const CASES: &str = "SEA_SESSION_TEST_UI_CASES";

/// Checks that every case of a folder is refused, with the text in its `main.stderr` where this compiler made the texts.
///
/// Each case is a module of the folder's `main.rs`, so that one run of the compiler, which loads SeaORM once, refuses all of them.
/// `module` is the `module_path!()` and `test` the name of the calling test, which is started again by it for a compiler of another version.
pub fn refused(folder: &str, module: &str, test: &str) {
    if let Ok(copy) = env::var(CASES) {
        return compile(Path::new(&copy));
    }
    let cases_in = Path::new(folder);
    let (made_with, this) = (MADE_WITH.trim(), compiler());
    if this == made_with {
        compile(cases_in);
        return assert_eq!(unrefused(cases_in), [""; 0], "what {folder}/main.stderr has no error of");
    }
    // Past the capture of the test harness: it shows nothing of a test that passes.
    let said = format!(
        "{test}: the texts in {folder} are not compared, only that each case is refused: they were made with rustc \
         {made_with}, and this is rustc {this}\n"
    );
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for case in cases(cases_in).iter().chain([&"main".to_owned()]) {
        let file = format!("{case}.rs");
        fs::copy(cases_in.join(&file), copy.path().join(file)).unwrap();
    }
    assert_eq!(only_refused(copy.path(), module, test), [""; 0], "cases in {folder} compile; see above");
}

/// Compiles the cases of a folder that has no texts, and names those that are not refused, whatever the compiler says of the others. In a
/// process of its own, because trybuild asks the environment what to do with a text. What it says is told only if a case compiles.
pub fn only_refused(folder: &Path, module: &str, test: &str) -> Vec<String> {
    let output = again::program(module, test).env(CASES, folder).env("TRYBUILD", "overwrite").output().unwrap();
    let unrefused = if output.status.success() { unrefused(folder) } else { cases(folder) };
    if !unrefused.is_empty() {
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    unrefused
}

fn compile(folder: &Path) {
    trybuild::TestCases::new().compile_fail(folder.join("main.rs"));
}

/// The cases of a folder at which no error of its `main.stderr` points.
fn unrefused(folder: &Path) -> Vec<String> {
    let messages = messages(folder);
    let mut cases = cases(folder);
    cases.retain(|case| !messages.iter().any(|message| points_at(message).ends_with(&format!("/{case}.rs"))));
    cases
}

/// The names of a folder's cases, each of which its `main.rs` has as a module.
pub fn cases(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let rust = files.filter(|file| file.extension().is_some_and(|e| e == "rs"));
    let mut names: Vec<String> = rust.map(|file| file.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "main");
    names.sort();
    let main = fs::read_to_string(folder.join("main.rs")).unwrap();
    let modules: Vec<&str> = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    assert_eq!(names, modules, "the files in {} beside the modules of its main.rs", folder.display());
    names
}

/// What the compiler says of a folder's cases, error by error.
pub fn messages(folder: &Path) -> Vec<String> {
    let said = fs::read_to_string(folder.join("main.stderr")).unwrap();
    said.trim_end().split("\n\n").map(str::to_owned).collect()
}

/// The file that an error points at first.
pub fn points_at(message: &str) -> &str {
    let place = message.lines().find_map(|line| line.trim_start().strip_prefix("--> ")).unwrap_or_default();
    place.split(':').next().unwrap_or_default()
}

/// The version of the compiler that trybuild will run, as in `rustc 1.95.0 (59807616e 2026-04-14)`.
fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    version.split_whitespace().nth(1).unwrap_or_else(|| panic!("rustc says {version:?}")).to_owned()
}
