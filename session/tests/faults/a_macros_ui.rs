//! What a wrong use of a macro looks like to its author: one sentence at their own line that says what to write instead.
//!
//! `TRYBUILD=overwrite cargo test -p sea-session --test faults -- _ui::` writes the messages anew; read them before you
//! commit them.

use crate::ui;

/// Words of the implementation that no message may show.
const INTERNAL: [&str; 13] = [
    "sea_session_macros",
    "AnyModel",
    "AnyDraft",
    "BodyError",
    "Settings",
    "Shared",
    "UnitCore",
    "Phase",
    "RowChange",
    "TableMeta",
    "Inner<",
    "AnyObject",
    "Member",
];

#[test]
fn every_wrong_use_has_its_sentence() {
    ui::refused("tests/ui/macros", module_path!(), "every_wrong_use_has_its_sentence");
}

#[test]
fn no_message_names_an_internal_type() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui/macros");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).expect("the folder of cases") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "stderr") {
            let text = std::fs::read_to_string(&path).expect("a message");
            for word in INTERNAL {
                assert!(!text.contains(word), "{} shows `{word}`:\n{text}", path.display());
            }
            read += 1;
        }
    }
    assert!(read >= 40, "only {read} messages were found");
}
