//! What a wrong use of a session looks like to its author (section 3 of the design): what would lose rows with other
//! libraries does not compile here, and the message points at the author's own line.
//!
//! `TRYBUILD=overwrite cargo test -p sea-session --test faults -- _ui::` writes the messages anew; read them before you
//! commit them.

use std::path::Path;

use crate::ui;

#[test]
fn a2_b1_what_a_session_does_not_allow_does_not_compile() {
    ui::refused("tests/ui/session", module_path!(), "a2_b1_what_a_session_does_not_allow_does_not_compile");
}

/// A lint is asked only where nothing else is wrong, and so not beside the cases above.
#[test]
fn a2_options_without_run_are_pointed_at() {
    ui::refused("tests/ui/lints", module_path!(), "a2_options_without_run_are_pointed_at");
}

/// With a compiler that did not make the texts no text is compared, but what compiles is still an error.
#[test]
fn a2_with_another_compiler_a_case_must_still_be_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let only_refused =
        || ui::only_refused(folder.path(), module_path!(), "a2_b1_what_a_session_does_not_allow_does_not_compile");
    write("main.rs", "mod wrong;\nfn main() {}\n");
    write("wrong.rs", "pub fn f() { let _: u8 = \"text\"; }");
    assert_eq!(only_refused(), [""; 0], "a type that does not fit");
    write("main.rs", "mod right;\nmod wrong;\nfn main() {}\n");
    write("right.rs", "pub fn f() {}");
    assert_eq!(only_refused(), ["right"], "nothing is wrong with it");
    write("wrong.rs", "pub fn f() {}");
    assert_eq!(only_refused(), ["right", "wrong"], "nothing is wrong with either");
}

/// The message begins at the author's line, and says what to write where rustc alone would name our traits.
#[test]
fn a2_the_messages_are_for_people() {
    let folder = Path::new("tests/ui/session");
    let messages = ui::messages(folder);
    for message in &messages {
        let place = ui::points_at(message);
        assert!(place.starts_with("tests/ui/session/"), "points at {place}:\n{message}");
        assert!(!message.contains("not general enough"), "{message}");
    }
    assert!(messages.len() >= ui::cases(folder).len());
}
