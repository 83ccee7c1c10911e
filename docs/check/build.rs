//! Makes programs of the book's examples, so that a page need not show what every program begins and ends with.
//!
//! | A block | becomes |
//! |---|---|
//! | ```` ```rust ````, ```` ```rust no_run ```` | the body of an async `main` with the example's tables and `db` |
//! | ```` ```rust program ```` | a program as it stands |
//! | ```` ```rust error ```` | as the first; its `error` must say what the next ```` ```text ```` block of the page holds |
//! | ```` ```rust test ```` | a part of `tests/documents/book.rs` |
//! | ```` ```rust ignore ````, and any other language | text |
//!
//! Each page becomes one item with that documentation, in `book.rs`.

use std::{env, fmt::Write, fs, io, path::Path};

const BEGIN: &str = "# #[allow(unused_imports)]\n\
    # use sea_orm::{ActiveValue::Set, entity::prelude::*};\n\
    # #[allow(unused_imports)]\n\
    # use sea_session::{Error, prelude::*, testing::create_table};\n\
    # #[allow(unused_imports)]\n\
    # use docs_check::example::{author, draft, example, note};\n\
    # #[tokio::main(flavor = \"current_thread\")]\n\
    # async fn main() -> anyhow::Result<()> {\n\
    # #[allow(unused_variables)]\n\
    # let db = example().await?;\n";
const END: &str = "# Ok(())\n# }\n";
const BOOK: &str = "../book/src";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={BOOK}");
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let out = Path::new(&out);
    let mut names = Vec::new();
    pages(Path::new(BOOK), "", &mut names)?;
    names.sort();
    let (mut items, mut tests) = (String::new(), String::new());
    for name in &names {
        let page = converted(&fs::read_to_string(Path::new(BOOK).join(name))?, &mut tests)
            .map_err(|why| io::Error::other(format!("{name}: {why}")))?;
        let file = name.replace('/', "_");
        fs::write(out.join(&file), page)?;
        let item: String = file.trim_end_matches(".md").split(['_', '-']).map(capitalized).collect();
        writeln!(items, "#[doc = include_str!(concat!(env!(\"OUT_DIR\"), \"/{file}\"))]\npub struct {item};")
            .map_err(io::Error::other)?;
    }
    fs::write(out.join("book.rs"), items)?;
    fs::write(out.join("book_tests.rs"), tests)
}

fn pages(folder: &Path, under: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{under}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            pages(&entry.path(), &format!("{name}/"), names)?;
        } else if name.ends_with(".md") && name != "SUMMARY.md" {
            names.push(name);
        }
    }
    Ok(())
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_uppercase() + rest
}

/// A line of text, or a block with its language and class.
enum Piece<'p> {
    Line(&'p str),
    Block(&'p str, String),
}

fn read(page: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        pieces.push(match line.strip_prefix("```") {
            None => Piece::Line(line),
            Some(info) => {
                let block = lines.by_ref().take_while(|line| *line != "```");
                Piece::Block(info, block.flat_map(|line| [line, "\n"]).collect())
            }
        });
    }
    pieces
}

/// A page with whole programs in it; its tests go to `tests`.
fn converted(page: &str, tests: &mut String) -> Result<String, &'static str> {
    let pieces = read(page);
    let mut text = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        let (info, block) = match piece {
            Piece::Line(line) => {
                text.extend([line, "\n"]);
                continue;
            }
            Piece::Block(info, block) => (*info, block),
        };
        let (class, begin, end) = match info {
            "rust" | "rust no_run" => (info, BEGIN, END.to_owned()),
            "rust program" => ("rust", "", String::new()),
            "rust error" => {
                let next = pieces[at + 1..].iter().find_map(|piece| match piece {
                    Piece::Block(info, block) => Some((*info, block.trim_end())),
                    Piece::Line(_) => None,
                });
                let Some(("text", said)) = next else {
                    return Err("a block of an error is followed by no text that says what the error says");
                };
                ("rust", BEGIN, format!("# docs_check::says(&error, {said:?});\n{END}"))
            }
            "rust test" => {
                tests.push_str(block);
                ("text", "", String::new())
            }
            "" | "rust ignore" => ("text", "", String::new()),
            other => (other, "", String::new()),
        };
        text.push_str(&format!("```{class}\n{begin}{block}{end}```\n"));
    }
    Ok(text)
}
