//! Where the binary under test is, and the environment variables that the tests themselves obey.
//! It never builds anything: `cargo test -p stockade-tests` after `cargo build -p stockade` does.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

/// One variable of the environment of the tests.
pub fn variable(name: &str) -> Option<OsString> {
    #[expect(clippy::disallowed_methods, reason = "the tests' door to their own environment")]
    let value = std::env::var_os(name);
    value.filter(|value| !value.is_empty())
}

/// The binary under test: `$STOCKADE_BIN`, else the one beside the running test.
///
/// # Errors
/// A text that says where it was looked for.
pub fn stockade() -> Result<PathBuf, String> {
    if let Some(chosen) = variable("STOCKADE_BIN") {
        return Ok(PathBuf::from(chosen));
    }
    let test = std::env::current_exe().map_err(|e| format!("own executable: {e}"))?;
    // target/TRIPLE/debug/deps/escape-HASH: the binary lies two directories up.
    let directory = test.parent().and_then(|deps| deps.parent()).ok_or("the test has no directory")?;
    let binary = directory.join("stockade");
    if binary.is_file() {
        return Ok(binary);
    }
    Err(format!("{} is not built: cargo build -p stockade, or set STOCKADE_BIN", binary.display()))
}

/// The binary under test; `None` when only the controls of attacks are wanted (`STOCKADE_TESTS=controls`).
///
/// # Errors
/// As [`stockade`].
pub fn under_test() -> Result<Option<PathBuf>, String> {
    static FOUND: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    let find = || match variable("STOCKADE_TESTS") {
        Some(word) if word == "controls" => Ok(None),
        Some(_) | None => stockade().map(Some),
    };
    FOUND.get_or_init(find).clone()
}
