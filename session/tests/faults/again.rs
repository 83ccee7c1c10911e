//! This program started again, to run one of its tests as a child or alone.

use std::{
    env,
    process::{Command, Stdio},
};

/// Tells the program that it was started for one test that has to be alone.
const ALONE: &str = "SEA_SESSION_TEST_ALONE";

/// The program again, for the test of this name in the module whose `module_path!()` is given.
pub fn program(module: &str, test: &str) -> Command {
    // Without the name of the crate, as the harness calls its tests.
    let module = module.split_once("::").map_or("", |(_, inner)| inner);
    let mut program = Command::new(env::current_exe().expect("this program"));
    program.args(["--exact", &format!("{module}::{test}"), "--nocapture"]);
    program
}

/// Whether the test has its process to itself. If not, it is run in one, and its caller has nothing more to do.
///
/// # Panics
/// If the test fails there.
pub fn alone(module: &str, test: &str) -> bool {
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let output = program(module, test).env(ALONE, "1").stderr(Stdio::inherit()).output().expect("this program again");
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success() && told.contains("1 passed"), "{test}, alone in a process, failed; see above");
    false
}
