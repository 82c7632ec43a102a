//! The report in a real browser: every part is there, and nothing that an attacker wrote became markup or ran.
//! It never takes the browser's word without a control: the same attacks, unescaped, must run in it.

use crate::session::{End, State, hostile};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;
use stockade_tests::binaries::variable;

const BROWSERS: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// The page as the browser has it after everything that wanted to run has run.
#[track_caller]
fn opened(state: &State, page: &Path, more: &[&str]) -> String {
    let browser =
        BROWSERS.iter().find(|path| Path::new(path).exists()).expect("chromium is installed (tests/run does)");
    let profile = format!("--user-data-dir={}", state.root.join("browser").display());
    let url = format!("file://{}", page.display());
    // The browser's own sandbox needs what a test's machine may not have; its pages are ours.
    let mut words =
        vec![browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", profile.as_str()];
    words.extend(["--no-first-run", "--disable-extensions", "--virtual-time-budget=3000"]);
    words.extend(more);
    words.push(&url);
    let ended = state.run(words.into_iter().map(OsString::from).collect(), Duration::from_secs(120));
    assert_eq!(ended.code(), 0, "{}", ended.told());
    ended.out()
}

#[test]
fn a_report_runs_no_script_and_loads_nothing_whatever_names_say() {
    let state = State::new(End::Closed);
    let control = state.root.join("control.html");
    fs::write(&control, format!("<!doctype html><title>x</title><body>{}", hostile())).expect("written");
    let ran = opened(&state, &control, &["--dump-dom"]);
    assert!(ran.contains("<title>owned</title>"), "the attack does not even work unescaped: {ran}");

    let report = state.answer(&["log", "report", "last"]);
    let page = state.root.join("report.html");
    fs::write(&page, &report).expect("written");
    let dom = opened(&state, &page, &["--dump-dom"]);
    assert!(dom.contains(&format!("<title>Stockade session {}</title>", state.sid)), "a script changed the title");
    for element in
        ["<script", "<img", "<iframe", "<object", "<embed", "<link", "<form", "<base", "onerror=\"", "javascript:"]
    {
        assert!(!dom.contains(element), "{element} is in the page");
    }
    assert!(dom.contains("&lt;script&gt;document.title='owned'&lt;/script&gt;"), "the attack is shown as text");
    // Text of a guest has neither bracket, so that these are all the tags there are.
    for tag in report.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        let loads =
            [" src=", " href=\"h", " style=", " on", "http-equiv=\"refresh"].iter().any(|part| tag.contains(part));
        assert!(!loads, "<{tag}> loads, runs or styles something");
    }
    assert!(!report.contains("url(") && !report.contains("@import"), "the style loads nothing");
    assert!(report.contains("default-src 'none'"), "the page forbids what it does not need");
}

#[test]
fn a_report_has_every_part() {
    let state = State::new(End::Closed);
    let report = state.answer(&["log", "report", "last"]);
    let page = state.root.join("report.html");
    fs::write(&page, &report).expect("written");
    let dom = opened(&state, &page, &["--dump-dom"]);
    for part in [
        "id=\"findings\"",
        "id=\"refused\"",
        "id=\"calls\"",
        "id=\"files\"",
        "id=\"network\"",
        "id=\"records\"",
        "id=\"reading\"",
        "make -j2 all",
        "/usr/bin/sed",
        "src/main.c",
        "held for consent",
        "api.example.com:443/v1/items",
        "example in header authorization",
        "a push cannot be taken back",
        "ptrace → EPERM",
        "pids is 256, 257 were used",
        "<rect class=\"failed\"",
        "class=\"strip\"",
        "not there any more",
        "make: *** [all] Error 139",
        "the content itself was hashed",
        "notify+addfd",
    ] {
        assert!(dom.contains(part), "{part} is not in the page");
    }
    let redacted = state.answer(&["log", "report", "last", "--redacted"]);
    assert!(
        !redacted.contains("make -j2 all") && !redacted.contains("Error 139"),
        "values that can be erased are left out"
    );
    let few = state.answer(&["log", "report", "last", "--records", "3"]);
    assert!(few.contains("more are not shown here"), "what is left out is said");
    // For who wants to look: STOCKADE_TESTS_SHOTS=DIR keeps pictures of the page, light, dark and narrow.
    if let Some(directory) = variable("STOCKADE_TESTS_SHOTS") {
        let directory = Path::new(&directory);
        fs::create_dir_all(directory).expect("made");
        fs::write(directory.join("report.html"), &report).expect("written");
        let unfolded = state.root.join("unfolded.html");
        fs::write(&unfolded, report.replace("<details>", "<details open>")).expect("written");
        for (name, more) in [
            ("light", ["--window-size=1280,4200", "--hide-scrollbars"]),
            ("dark", ["--window-size=1280,4200", "--blink-settings=preferredColorScheme=0"]),
            ("narrow", ["--window-size=520,4200", "--hide-scrollbars"]),
        ] {
            let shot = format!("--screenshot={}", directory.join(format!("{name}.png")).display());
            opened(&state, &unfolded, &[&shot, more[0], more[1]]);
        }
    }
}
