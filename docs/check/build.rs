//! Makes programs of the guide's examples, so that the guide itself need not show what every program begins and ends with.
//!
//! A block ```` ```rust ```` becomes the body of an async `main` with the example's tables and `db`; a block
//! ```` ```rust test ```` becomes part of `tests/documents/guide.rs`. Nothing else of the text is touched.

use std::{env, fs, path::Path};

const BEGIN: &str = "# include!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../../session/docs/example.rs\"));\n\
    # #[tokio::main(flavor = \"current_thread\")]\n\
    # async fn main() -> anyhow::Result<()> {\n\
    # #[allow(unused_variables)]\n\
    # let db = example().await?;\n";
const END: &str = "# Ok(())\n# }\n";

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=../guide.md");
    let out = env::var("OUT_DIR").map_err(std::io::Error::other)?;
    let (guide, tests) = convert(&fs::read_to_string("../guide.md")?);
    fs::write(Path::new(&out).join("guide.md"), guide)?;
    fs::write(Path::new(&out).join("guide_tests.rs"), tests)
}

/// The guide with whole programs in it, and its tests.
fn convert(guide: &str) -> (String, String) {
    let (mut text, mut tests) = (String::new(), String::new());
    let mut block: Option<&str> = None;
    for line in guide.lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some(info)) => {
                block = Some(info);
                text.push_str(if info == "rust test" { "```text" } else { line });
                text.push('\n');
                if is_program(info) {
                    text.push_str(BEGIN);
                }
                continue;
            }
            (Some(info), Some("")) => {
                if is_program(info) {
                    text.push_str(END);
                }
                block = None;
            }
            (Some("rust test"), _) => {
                tests.push_str(line);
                tests.push('\n');
            }
            _ => {}
        }
        text.push_str(line);
        text.push('\n');
    }
    (text, tests)
}

fn is_program(info: &str) -> bool {
    info == "rust" || info == "rust no_run"
}
