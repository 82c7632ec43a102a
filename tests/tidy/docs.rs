//! What the documents promise: links that lead somewhere, tests that exist, reasons in every profile, no more at the
//! top level than was drawn. It never judges whether a sentence is true; the named tests do.

use super::lex;
use super::source::{Finding, Source};
use std::collections::BTreeSet;

/// What the top level may hold, and must.
pub(crate) const TOP: [&str; 16] = [
    ".cargo",
    ".ci",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "deny.toml",
    "runtime",
    "rustfmt.toml",
    "sandbox-profiles",
    "tests",
    "tools-wasm",
];

/// What is at the top level and should not be, and what is missing there.
pub(crate) fn top_level(names: &BTreeSet<String>) -> Vec<Finding> {
    let extra = names.iter().filter(|name| !TOP.contains(&name.as_str()));
    let extra = extra.map(|name| Finding::new(name, 0, "is not in the drawing of the top level"));
    let missing = TOP.iter().filter(|name| !names.contains(**name));
    extra.chain(missing.map(|name| Finding::new(name, 0, "is missing from the top level"))).collect()
}

/// Relative links of Markdown files that lead to no file or to no heading of it.
pub(crate) fn links(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is("md")) {
        for (index, line) in source.text.lines().enumerate() {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if !link.contains("://") && !leads(sources, &source.path, link) {
                    findings.push(Finding::new(&source.path, index + 1, format!("the link `{link}` leads nowhere")));
                }
            }
        }
    }
    findings
}

fn leads(sources: &[Source], from: &str, link: &str) -> bool {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let mut parts: Vec<&str> = from.split('/').collect();
    if !file.is_empty() {
        parts.pop();
        for part in file.trim_end_matches('/').split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                name => parts.push(name),
            }
        }
    }
    let path = parts.join("/");
    let Some(target) = sources.iter().find(|source| source.path == path) else {
        return heading.is_empty() && sources.iter().any(|source| source.path.starts_with(&format!("{path}/")));
    };
    heading.is_empty() || target.text.lines().any(|line| line.starts_with('#') && slug(line) == heading)
}

/// The anchor that repository hosts give a heading.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Rows of THREATS.md that name no test and give no reason, and names that no test has. A `*` in a name stands for any
/// part of one: most attacks are tables, and a row is about all of their lines.
pub(crate) fn threats(document: &Source, tests: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, cells) in rows(document) {
        let mut find = |what: String| findings.push(Finding::new(&document.path, line, what));
        let last = cells.last().copied().unwrap_or_default();
        if cells.len() != 3 || cells.iter().any(|cell| cell.is_empty()) {
            find("a row is attack, stopped by, test: three cells, none empty".to_owned());
        }
        let named = quoted(last);
        if named.is_empty() && last.split(' ').count() < 4 {
            find("names no test and gives no reason".to_owned());
        }
        for name in named.into_iter().filter(|name| !tests.iter().any(|test| matches(name, test))) {
            find(format!("no test is called `{name}`"));
        }
    }
    findings
}

/// Tests of attacks that no row of THREATS.md names: attacks that its reader would not hear of.
pub(crate) fn unnamed(document: &Source, attacks: &BTreeSet<String>) -> Vec<Finding> {
    let named: Vec<&str> =
        rows(document).iter().filter_map(|(_, cells)| cells.last()).flat_map(|cell| quoted(cell)).collect();
    let lost = attacks.iter().filter(|attack| !named.iter().any(|name| matches(name, attack)));
    lost.map(|attack| Finding::new(&document.path, 0, format!("no row names the test `{attack}`"))).collect()
}

/// Rows of all tables, without heads and rules, with their lines.
fn rows(document: &Source) -> Vec<(usize, Vec<&str>)> {
    let lines = document.text.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let rows = lines.map(|(index, line)| (index + 1, line.trim_matches('|').split('|').map(str::trim).collect()));
    rows.filter(|(_, cells): &(usize, Vec<&str>)| {
        let last = cells.last().copied().unwrap_or_default();
        last != "test" && (last.is_empty() || !last.chars().all(|c| matches!(c, '-' | ':')))
    })
    .collect()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether a name with `*`s is that of a test.
fn matches(name: &str, test: &str) -> bool {
    let (first, rest) = name.split_once('*').map_or((name, None), |(first, rest)| (first, Some(rest)));
    match (test.strip_prefix(first), rest) {
        (Some(tail), None) => tail.is_empty(),
        (Some(tail), Some(rest)) => (0..=tail.len()).any(|at| tail.is_char_boundary(at) && matches(rest, &tail[at..])),
        (None, _) => false,
    }
}

/// What a test program lists, without the person that each test is run as.
pub(crate) fn listed(output: &str) -> BTreeSet<String> {
    let names = output.lines().filter_map(|line| line.strip_suffix(": test"));
    let bare = names.map(|line| line.split_once("] ").map_or(line, |(_, name)| name));
    bare.map(|name| name.rsplit_once("::as_").map_or(name, |(test, _)| test).to_owned()).collect()
}

/// Names of all functions.
pub(crate) fn functions(sources: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources.iter().filter(|source| source.is("rs")) {
        let code = lex::code(&source.text);
        let names = code.windows(2).filter(|pair| pair[0].text == "fn").map(|pair| pair[1].text.to_owned());
        found.extend(names);
    }
    found
}

/// Tables of a profile that give no reason: grants, secrets and rules alike.
pub(crate) fn reasons(profile: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut open: Option<usize> = None;
    let lines = profile.text.lines().map(str::trim).enumerate().chain([(usize::MAX, "[end]")]);
    for (index, line) in lines {
        if line.starts_with('[') {
            if let Some(start) = open.take() {
                findings.push(Finding::new(&profile.path, start + 1, "a table without a reason"));
            }
            open = line.starts_with("[[").then_some(index);
        }
        let reason = line.strip_prefix("reason").map(|rest| rest.trim_start_matches([' ', '=', '"']));
        if reason.is_some_and(|reason| reason.trim_end_matches('"').len() > 2) {
            open = None;
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{none, one};

    #[test]
    fn a_name_too_many_and_one_too_few_are_found() {
        let all = || TOP.iter().map(|name| (*name).to_owned());
        none(&top_level(&all().collect()));
        one(&top_level(&all().chain(["notes.md".to_owned()]).collect()), 0, "not in the drawing");
        one(&top_level(&all().skip(1).collect()), 0, "missing");
    }

    #[test]
    fn a_dead_link_is_found() {
        let check = |text: &str| {
            let sources = [Source::sample("runtime/A.md", text), Source::sample("B.md", "# One `two`, three\n")];
            links(&sources)
        };
        one(&check("\nsee [b](../C.md)"), 2, "../C.md");
        one(&check("[b](../B.md#four)"), 1, "#four");
        none(&check("[b](../B.md#one-two-three) [c](https://example.com/x) [d](../runtime)"));
    }

    fn table(row: &str) -> Source {
        Source::sample("T.md", &format!("| attack | stopped by | test |\n|---|---|---|\n{row}\n"))
    }

    #[test]
    fn a_row_that_names_no_test_is_found() {
        let tests = functions(&[Source::sample("tests/a.rs", "#[test]\nfn it_holds() {}")]);
        let check = |row: &str| threats(&table(row), &tests);
        none(&check("| a | b | `it_holds` |"));
        none(&check("| a | b | `it_*s`, `*` |"));
        none(&check("| a | b | cannot apply: there is no daemon |"));
        one(&check("| a | b | `it_falls` |"), 3, "no test is called `it_falls`");
        one(&check("| a | b | `it_*d` |"), 3, "no test is called `it_*d`");
        one(&check("| a | b | tested |"), 3, "names no test");
        one(&check("| a | `it_holds` |"), 3, "three cells");
    }

    #[test]
    fn a_test_that_the_table_leaves_out_is_found() {
        let attacks = listed("[attack on files] files::one::as_root: test\nother::as_ordinary_user: test\n\n2 tests\n");
        assert_eq!(attacks, BTreeSet::from(["files::one".to_owned(), "other".to_owned()]));
        one(&unnamed(&table("| a | `other` | `files::*` |"), &attacks), 0, "`other`");
        none(&unnamed(&table("| a | b | `files::one`, `oth*` |"), &attacks));
    }

    #[test]
    fn a_grant_without_a_reason_is_found() {
        let check = |text: &str| reasons(&Source::sample("p.toml", text));
        one(&check("[[grant.read]]\npath = \".\"\n[limits]\nreason = \"of something else\"\n"), 1, "without a reason");
        one(&check("[[grant.read]]\nreason = \"\"\n"), 1, "without a reason");
        none(&check("[[grant.read]]\nreason = \"the task reads this\"\n[limits]\nwall_s = 1\n"));
    }
}
