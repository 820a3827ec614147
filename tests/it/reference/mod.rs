//! `docs/reference` is made of the code, and these tests hold the two together. `make reference` writes the pages anew.

mod cli;
mod http;
mod reasons;

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

const MADE: &str = "<!-- Made from the code by `make reference`; a test compares the two. Do not edit. -->";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

/// A page that is being written.
struct Page(String);

impl Page {
    fn new(title: &str, about: &str) -> Self {
        Self(format!("{MADE}\n# {title}\n\n{about}\n"))
    }

    fn line(&mut self, text: impl AsRef<str>) {
        writeln!(self.0, "{}", text.as_ref()).unwrap();
    }

    fn heading(&mut self, level: usize, text: &str) {
        self.line(format!("\n{} {text}\n", "#".repeat(level)));
    }

    /// A table, unless it has no rows.
    fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return;
        }
        self.line(format!("| {} |", head.join(" | ")));
        self.line(format!("|{}", " --- |".repeat(head.len())));
        for row in rows {
            let cells: Vec<String> = row.iter().map(|it| cell(it)).collect();
            self.line(format!("| {} |", cells.join(" | ")));
        }
    }
}

/// Text that stays in its cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// The page as it is, or with LONGSHORE_WRITE_DOCS set, as it is to be.
fn is_up_to_date(name: &str, page: Page) {
    let path = root().join("docs/reference").join(name);
    let text = format!("{}\n", page.0.trim_end());
    if std::env::var_os("LONGSHORE_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(text.lines()).find(|(old, new)| old != new);
    assert!(found == text, "docs/reference/{name} is not what the code says; `make reference` writes it. {differs:?}");
}

#[test]
fn the_reference_of_http_is_what_the_code_says() {
    is_up_to_date("http.md", http::page());
}

#[test]
fn the_reference_of_commands_is_what_the_code_says() {
    is_up_to_date("cli.md", cli::commands());
}

#[test]
fn the_reference_of_settings_is_what_the_code_says() {
    is_up_to_date("settings.md", cli::settings());
}

#[test]
fn the_reference_of_reasons_is_what_the_code_says() {
    is_up_to_date("reasons.md", reasons::page());
}

/// The words between backticks in the first cells of the rows of tables.
fn first_cells(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|it| it.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(|it| it.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The part of a page from one heading to the next of its level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().unwrap();
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("there is no {heading}"));
    let body = &text[start + heading.len() + 2..];
    body.find(&format!("\n{level} ")).map_or(body, |end| &body[..end])
}

#[test]
fn what_people_wrote_about_words_and_codes_names_them_all_and_no_others() {
    let lifecycle = read("docs/lifecycle.md");
    let sorted = |mut it: Vec<String>| {
        it.sort();
        it.dedup();
        it
    };
    let same = |heading: &str, words: Vec<String>| {
        assert_eq!(sorted(first_cells(section(&lifecycle, heading))), sorted(words), "docs/lifecycle.md, {heading}");
    };
    same("## Reasons", reasons::endings());
    same("## Waiting", reasons::waits());
    let troubles = &section(&lifecycle, "## Troubles at the start");
    assert_eq!(sorted(first_cells(troubles)), sorted(reasons::troubles()), "docs/lifecycle.md, troubles");
    let problems = first_cells(section(&read("docs/http.md"), "## Problems"));
    let of_second_cell = section(&read("docs/http.md"), "## Problems").to_owned();
    let told = |code: &str| problems.iter().any(|it| it == code) || of_second_cell.contains(&format!("`{code}`"));
    let missing: Vec<String> = reasons::problems().into_iter().filter(|it| !told(it)).collect();
    assert!(missing.is_empty(), "docs/http.md, Problems, has not {missing:?}");
}

#[test]
fn every_variable_that_is_read_is_a_flags_own_or_said_to_be_no_flags() {
    let flags = cli::variables();
    let others: Vec<&str> = cli::OTHER_VARIABLES.iter().map(|(name, _)| *name).collect();
    let mut found = Vec::new();
    crate::architecture::sources(&root().join("src"), &mut found);
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("env::var") {
            rest = &rest[at + "env::var".len()..];
            let argument = rest.trim_start_matches("_os").strip_prefix("(\"");
            let Some((name, _)) = argument.and_then(|it| it.split_once('"')) else { continue };
            assert!(
                flags.iter().any(|it| it == name) || others.contains(&name),
                "{}: {name} is not in tests/it/reference/cli.rs",
                path.display()
            );
        }
    }
}
