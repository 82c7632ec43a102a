//! What the docker command keeps in its directory: which context is current, and where the engine of one is.
//! It reads two kinds of JSON, and never credentials, which stand in the same file.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest file of settings that is read, bytes.
pub(super) const SETTINGS_BYTES_MAX: u64 = 1024 * 1024;
/// Longest name of a context, bytes.
const NAME_BYTES_MAX: usize = 255;

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "currentContext", default)]
    current_context: Option<String>,
}

/// Name of the current context in `config.json`; none when it is the default one.
///
/// # Errors
/// The file is not what the docker command writes.
pub fn current_context(config: &[u8]) -> Result<Option<String>, String> {
    // The docker command takes an empty file for an empty object.
    if config.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let config: Config = serde_json::from_slice(config).map_err(|error| error.to_string())?;
    match config.current_context {
        Some(name) if name.is_empty() || name == "default" => Ok(None),
        Some(name) if name.len() > NAME_BYTES_MAX => Err("the name of the current context is too long".to_owned()),
        other => Ok(other),
    }
}

/// Where the description of a context lies, below the directory of the docker command's settings.
pub(super) fn context_path(directory: &Path, name: &str) -> PathBuf {
    let mut digest = String::new();
    for byte in Sha256::digest(name.as_bytes()) {
        use std::fmt::Write as _;
        write!(digest, "{byte:02x}").expect("writing to a String cannot fail");
    }
    directory.join("contexts/meta").join(digest).join("meta.json")
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Endpoints", default)]
    endpoints: BTreeMap<String, Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Host", default)]
    host: Option<String>,
}

/// The host of a context in its `meta.json`, as written.
///
/// # Errors
/// The file is not what the docker command writes, or is another context's, or names no engine.
pub fn context_host(meta: &[u8], name: &str) -> Result<String, String> {
    let mut meta: Meta = serde_json::from_slice(meta).map_err(|error| error.to_string())?;
    if meta.name != name {
        return Err("it describes another context".to_owned());
    }
    let host = meta.endpoints.remove("docker").and_then(|endpoint| endpoint.host).filter(|host| !host.is_empty());
    host.ok_or_else(|| "it names no engine".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_context_is_read() {
        let check = |text: &str| current_context(text.as_bytes());
        assert_eq!(check(r#"{"auths": {"x": {"auth": "c2VjcmV0"}}, "currentContext": "box"}"#), Ok(Some("box".into())));
        assert_eq!(check(r#"{"currentContext": "default"}"#), Ok(None));
        assert_eq!(check(r#"{"currentContext": ""}"#), Ok(None));
        assert_eq!(check(r#"{"currentContext": null}"#), Ok(None));
        assert_eq!(check("{}"), Ok(None));
        assert_eq!(check(" \n"), Ok(None));
    }

    #[test]
    fn hostile_settings_are_an_error() {
        let check = |text: &str| current_context(text.as_bytes()).expect_err("an error");
        check("{");
        check("[1]");
        check(r#"{"currentContext": 7}"#);
        check(r#"{"currentContext": "a", "currentContext": "b"}"#);
        check(&format!(r#"{{"currentContext": "{}"}}"#, "x".repeat(256)));
        check(&"[".repeat(100_000));
        current_context(b"\xff\xfe").expect_err("an error");
    }

    #[test]
    fn the_host_of_a_context_is_read() {
        let meta = r#"{"Name":"box","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///s","SkipTLSVerify":false}}}"#;
        assert_eq!(context_host(meta.as_bytes(), "box"), Ok("unix:///s".to_owned()));
        context_host(meta.as_bytes(), "other").expect_err("another context's");
        context_host(br#"{"Name":"box"}"#, "box").expect_err("no engine");
        context_host(br#"{"Name":"box","Endpoints":{"docker":{"Host":""}}}"#, "box").expect_err("no engine");
        context_host(br#"{"Name":"box","Endpoints":[]}"#, "box").expect_err("not an object");
    }

    #[test]
    fn the_name_of_a_context_leads_nowhere_else() {
        let path = context_path(Path::new("/d"), "../../../etc");
        assert!(path.starts_with("/d/contexts/meta") && path.components().count() == 6, "{}", path.display());
        // As `printf %s box | sha256sum` has it, and the docker command.
        let known = "26f8567f2569182294c3fa5b9f9cb2270b554eef628b4c149cf82a42888ff4ae";
        assert_eq!(context_path(Path::new("/d"), "box"), Path::new("/d/contexts/meta").join(known).join("meta.json"));
    }
}
