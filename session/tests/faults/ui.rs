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

/// Checks that every case of a folder is refused, with the text beside it where this compiler made the texts.
///
/// `module` is the `module_path!()` and `test` the name of the calling test, which is started again by it for a compiler of another version.
pub fn refused(folder: &str, module: &str, test: &str) {
    if let Ok(copy) = env::var(CASES) {
        return trybuild::TestCases::new().compile_fail(format!("{copy}/*.rs"));
    }
    let (made_with, this) = (MADE_WITH.trim(), compiler());
    if this == made_with {
        return trybuild::TestCases::new().compile_fail(format!("{folder}/*.rs"));
    }
    // Past the capture of the test harness: it shows nothing of a test that passes.
    let said = format!(
        "{test}: the texts in {folder} are not compared, only that each case is refused: they were made with rustc \
         {made_with}, and this is rustc {this}\n"
    );
    std::io::stderr().write_all(said.as_bytes()).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let case = entry.unwrap().path();
        if case.extension().is_some_and(|e| e == "rs") {
            fs::copy(&case, copy.path().join(case.file_name().unwrap())).unwrap();
        }
    }
    assert!(only_refused(copy.path(), module, test), "a case in {folder} compiles; see above");
}

/// Compiles each case of a folder that has no texts: they are written there, whatever they are, and a case that
/// compiles is still an error. In a process of its own, because trybuild asks the environment what to do with a text.
/// What it says of each case is told only if one compiles.
pub fn only_refused(folder: &Path, module: &str, test: &str) -> bool {
    let mut again = again::program(module, test);
    again.env(CASES, folder).env("TRYBUILD", "overwrite");
    let output = again.output().unwrap();
    if !output.status.success() {
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

/// The version of the compiler that trybuild will run, as in `rustc 1.95.0 (59807616e 2026-04-14)`.
fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    version.split_whitespace().nth(1).unwrap_or_else(|| panic!("rustc says {version:?}")).to_owned()
}
