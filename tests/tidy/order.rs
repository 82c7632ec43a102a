//! One direction: a module of `runtime` imports only what stands to its right, and every module has its place.
//! It never looks into the crates; they cannot import the runtime, since nothing there depends on it.

use super::lex::{self, Used};
use super::source::{Finding, Source};

/// The modules of `runtime`, from the outermost to the innermost.
const ORDER: [&str; 11] =
    ["main", "cli", "gateway", "config", "session", "backend", "workspace", "egress", "secrets", "journal", "error"];

const ROOT: &str = "runtime/src/";

/// What imports to the left, and what has no place in the order.
pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(ROOT)) {
        let home = home(&source.path);
        // The library's root declares the modules and says nothing else.
        let Some(own) = home.first().cloned() else { continue };
        let Some(place) = place(&own) else {
            findings.push(Finding::new(&source.path, 0, format!("module `{own}` has no place in the order")));
            continue;
        };
        for used in lex::paths(&lex::code(&source.text)) {
            let Some(target) = target(&home, &used) else { continue };
            match self::place(&target) {
                Some(there) if there < place => findings.push(Finding::new(
                    &source.path,
                    used.line,
                    format!("`{own}` imports `{target}`, which stands to its left"),
                )),
                Some(_) | None => {}
            }
        }
    }
    findings
}

fn place(module: &str) -> Option<usize> {
    ORDER.iter().position(|name| *name == module)
}

/// Path of the module that a file is; empty for the library's root.
fn home(path: &str) -> Vec<String> {
    let path = path.strip_prefix(ROOT).expect("only files of the runtime are asked for");
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] {
        parts.pop();
    }
    parts
}

/// The module of the runtime that a path leads into, if it leads through the crate's root.
fn target(home: &[String], used: &Used) -> Option<String> {
    let mut at: Vec<String> = home.iter().chain(&used.inline).cloned().collect();
    if home == ["main"] {
        at = used.inline.clone();
    }
    let mut segments = used.segments.iter();
    let mut first = segments.next()?;
    match first.as_str() {
        "crate" | "stockade" => return segments.next().cloned(),
        "super" => {}
        _ => return None,
    }
    while first == "super" {
        at.pop();
        first = segments.next()?;
    }
    at.is_empty().then(|| first.clone())
}

#[test]
fn an_import_to_the_left_is_found() {
    for text in [
        "\nuse crate::session::Session;",
        "\nfn f() { crate::session::open() }",
        "\nuse crate::{error, session};",
        "\nuse super::session;",
        "\nmod m { use super::super::session; }",
        "\nfn f() { stockade::session::open() }",
    ] {
        let sample = Source::sample("runtime/src/backend.rs", text);
        super::source::one(&check(&[sample]), 2, "`backend` imports `session`");
    }
    let nested = Source::sample("runtime/src/backend/process.rs", "use super::super::cli;");
    super::source::one(&check(&[nested]), 1, "`backend` imports `cli`");
}

#[test]
fn an_import_to_the_right_or_of_a_neighbour_is_not() {
    let texts = [
        ("runtime/src/backend/process.rs", "use super::container; use crate::journal; use super::session;"),
        ("runtime/src/backend/mod.rs", "use self::process::X; mod process; // crate::cli\nfn f() { \"crate::cli\"; }"),
        ("runtime/src/main.rs", "use stockade::cli;"),
        ("runtime/src/lib.rs", "pub mod cli; pub mod error;"),
    ];
    let samples: Vec<Source> = texts.iter().map(|(path, text)| Source::sample(path, text)).collect();
    super::source::none(&check(&samples));
}

#[test]
fn a_module_without_a_place_is_found() {
    super::source::one(&check(&[Source::sample("runtime/src/util.rs", "")]), 0, "`util` has no place");
}
