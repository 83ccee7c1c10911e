//! What a wrong use of a macro looks like to its author: one sentence at their own line that says what to write instead.
//!
//! `TRYBUILD=overwrite cargo test -p sea-session --test faults -- _ui::` writes the messages anew; read them before you
//! commit them.

use std::path::Path;

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
    let folder = Path::new("tests/ui/macros");
    let messages = ui::messages(folder);
    for message in &messages {
        for word in INTERNAL {
            assert!(!message.contains(word), "shows `{word}`:\n{message}");
        }
    }
    assert!(messages.len() >= ui::cases(folder).len());
}
