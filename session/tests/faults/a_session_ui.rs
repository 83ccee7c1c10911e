//! What a wrong use of a session looks like to its author (section 3 of the design): what would lose rows with other
//! libraries does not compile here, and the message points at the author's own line.
//!
//! `TRYBUILD=overwrite cargo test -p sea-session --test faults -- _ui::` writes the messages anew; read them before you
//! commit them.

use crate::ui;

#[test]
fn a2_b1_what_a_session_does_not_allow_does_not_compile() {
    ui::refused("tests/ui/session", module_path!(), "a2_b1_what_a_session_does_not_allow_does_not_compile");
}

/// With a compiler that did not make the texts no text is compared, but what compiles is still an error.
#[test]
fn a2_with_another_compiler_a_case_must_still_be_refused() {
    let folder = tempfile::tempdir().unwrap();
    let only_refused =
        || ui::only_refused(folder.path(), module_path!(), "a2_b1_what_a_session_does_not_allow_does_not_compile");
    std::fs::write(folder.path().join("wrong.rs"), "fn main() { let _: u8 = \"text\"; }").unwrap();
    assert!(only_refused(), "a type that does not fit");
    std::fs::write(folder.path().join("right.rs"), "fn main() {}").unwrap();
    assert!(!only_refused(), "nothing is wrong with it");
}

/// The message begins at the author's line, and says what to write where rustc alone would name our traits.
#[test]
fn a2_the_messages_are_for_people() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/session");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "stderr") {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_string_lossy();
            let first = text.lines().find(|line| line.trim_start().starts_with("-->")).unwrap();
            assert!(first.contains(&format!("tests/ui/session/{name}.rs")), "{name} points at {first}");
            assert!(!text.contains("not general enough"), "{name}:\n{text}");
            read += 1;
        }
    }
    assert!(read >= 15, "only {read} messages were found");
}
