//! Where an engine may be: what was asked for, what variables and the docker command's settings say, and the usual sockets.
//! It never connects, and reads no variable that it was not given.

use super::settings::{SETTINGS_BYTES_MAX, context_host, context_path, current_context};
use crate::error::{Error, Result, plain};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The operator's variables.
pub(super) type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// A make of engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Docker, or what speaks like it.
    Docker,
    /// Podman.
    Podman,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

/// Which engine is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The one that this machine's user would reach.
    Any,
    /// The one at this socket.
    Socket(PathBuf),
    /// The first one of this make.
    Kind(Kind),
}

impl Wanted {
    /// Reads what a person or a profile says: `docker`, `podman` or `unix:///path`.
    ///
    /// # Errors
    /// Operator: it is something else.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "docker" => Ok(Self::Kind(Kind::Docker)),
            "podman" => Ok(Self::Kind(Kind::Podman)),
            _ => socket(text.as_bytes()).map(Self::Socket).map_err(|why| {
                Error::operator(format!("\"{}\" is no container engine: {why}", super::trouble::bounded(text)))
                    .hint("say docker, podman, or unix:///path/of/its/socket")
            }),
        }
    }
}

/// The socket that the address of an engine names.
///
/// # Errors
/// Why it names none that we could use.
pub fn socket(host: &[u8]) -> std::result::Result<PathBuf, String> {
    const LOCAL: &str = "the engine has to be on this machine, and reached over a unix socket: sessions pass descriptors \
        and processes to and from their containers";
    let Some(path) = host.strip_prefix(b"unix://") else {
        let scheme = host.split(|byte| *byte == b':').next().unwrap_or_default();
        return Err(match scheme {
            b"tcp" | b"http" | b"https" | b"ssh" | b"npipe" | b"fd" => LOCAL.to_owned(),
            _ => "the address does not begin with unix://".to_owned(),
        });
    };
    if path.first() != Some(&b'/') {
        return Err("the path of its socket is not absolute".to_owned());
    }
    // A socket's address has 108 bytes, of which the last ends the path: unix(7).
    if path.len() > 107 || path.contains(&0) {
        return Err("the path of its socket is longer than an address may be".to_owned());
    }
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

/// Who says that an engine is there, and whether anybody may answer instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// It was named: nobody else is asked when it does not answer.
    Named,
    /// It is usual.
    Usual,
}

/// One place where an engine may be.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Who names it, in words.
    pub(super) by: String,
    /// Whether it was named.
    pub(super) weight: Weight,
    /// Its socket, or why there is none.
    pub(super) socket: std::result::Result<PathBuf, String>,
}

impl Place {
    fn new(by: impl Into<String>, weight: Weight, socket: std::result::Result<PathBuf, String>) -> Self {
        Self { by: by.into(), weight, socket }
    }
}

/// The places to look at, in order. What is named for whoever runs us comes before what is usual.
pub(super) fn places(wanted: &Wanted, variables: &Variables) -> Vec<Place> {
    if let Wanted::Socket(path) = wanted {
        return vec![Place::new("as asked for", Weight::Named, Ok(path.clone()))];
    }
    let mut found = Vec::new();
    for name in ["DOCKER_HOST", "CONTAINER_HOST"] {
        if let Some(host) = variable(variables, name) {
            found.push(Place::new(format!("named by {name}"), Weight::Named, socket(host)));
        }
    }
    // The docker command itself asks no context where DOCKER_HOST is set.
    if found.is_empty() {
        found.extend(context(variables));
    }
    let runtime_directory = variable(variables, "XDG_RUNTIME_DIR").map(|path| Path::new(OsStr::from_bytes(path)));
    let usual = [
        Some(PathBuf::from("/var/run/docker.sock")),
        runtime_directory.map(|directory| directory.join("docker.sock")),
        Some(PathBuf::from("/run/podman/podman.sock")),
        runtime_directory.map(|directory| directory.join("podman/podman.sock")),
    ];
    for path in usual.into_iter().flatten() {
        if !found.iter().any(|place: &Place| place.socket.as_ref() == Ok(&path)) {
            found.push(Place::new("usual", Weight::Usual, Ok(path)));
        }
    }
    found
}

fn variable<'a>(variables: &'a Variables, name: &str) -> Option<&'a [u8]> {
    variables.get(name.as_bytes()).map(Vec::as_slice).filter(|value| !value.is_empty())
}

/// What the docker command's current context names, unless that is the default one.
fn context(variables: &Variables) -> Option<Place> {
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let directory = match (variable(variables, "DOCKER_CONFIG"), variable(variables, "HOME")) {
        (Some(directory), _) => path(directory),
        (None, Some(home)) => path(home).join(".docker"),
        (None, None) => return None,
    };
    let config = directory.join("config.json");
    let name = match variable(variables, "DOCKER_CONTEXT") {
        Some(name) => Ok(Some(String::from_utf8_lossy(name).into_owned()).filter(|name| name != "default")),
        None => match read(&config) {
            Ok(text) => current_context(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(plain(&error)),
        },
    };
    let name = match name {
        Ok(None) => return None,
        Ok(Some(name)) => name,
        Err(why) => {
            let why = format!("\"{}\" cannot be read: {why}", config.display());
            return Some(Place::new("named by the docker command's settings", Weight::Named, Err(why)));
        }
    };
    let meta = context_path(&directory, &name);
    let host = read(&meta).map_err(|error| plain(&error)).and_then(|text| context_host(&text, &name));
    let named = host.map_err(|why| format!("\"{}\" cannot be used: {why}", meta.display()));
    let by = format!("named by the docker context \"{}\"", super::trouble::bounded(&name));
    Some(Place::new(by, Weight::Named, named.and_then(|host| socket(host.as_bytes()))))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(SETTINGS_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > SETTINGS_BYTES_MAX {
        return Err(io::Error::other("it is longer than settings are"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    /// The places, as `who: socket` or `who: !reason`.
    #[track_caller]
    fn check(wanted: &Wanted, pairs: &[(&str, &str)], expected: &[&str]) {
        let found: Vec<String> = places(wanted, &variables(pairs))
            .into_iter()
            .map(|place| match place.socket {
                Ok(path) => format!("{}: {}", place.by, path.display()),
                Err(why) => format!("{}: !{}", place.by, &why[..why.len().min(18)]),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_wanted_is_read() {
        let check = |text: &str, expected: Wanted| assert_eq!(Wanted::parse(text).expect("it can be read"), expected);
        check("docker", Wanted::Kind(Kind::Docker));
        check("podman", Wanted::Kind(Kind::Podman));
        check("unix:///run/x.sock", Wanted::Socket("/run/x.sock".into()));
        for hostile in
            ["", "Docker", "unix://", "unix://x", "/run/x.sock", "unix:///\0", "tcp://127.0.0.1:2375", "\u{1b}[2J"]
        {
            let error = Wanted::parse(hostile).expect_err("an error").to_string();
            assert!(!error.contains(['\u{1b}', '\0']), "{error:?}");
        }
        Wanted::parse(&format!("unix:///{}", "x".repeat(107))).expect_err("too long");
    }

    #[test]
    fn another_machine_is_refused_by_what_is_missing_there() {
        for host in ["tcp://10.0.0.1:2376", "ssh://me@box", "npipe:////./pipe/docker_engine", "http://x", "fd://"] {
            let why = socket(host.as_bytes()).expect_err("refused");
            assert!(why.contains("unix socket"), "{why}");
        }
        socket(b"unixx:///s").expect_err("not a scheme");
        socket(&[0xff; 200_000]).expect_err("not a scheme");
    }

    #[test]
    fn what_is_named_comes_before_what_is_usual() {
        const USUAL: [&str; 2] = ["usual: /var/run/docker.sock", "usual: /run/podman/podman.sock"];
        check(&Wanted::Any, &[], &USUAL);
        check(&Wanted::Socket("/s".into()), &[("DOCKER_HOST", "unix:///d")], &["as asked for: /s"]);
        check(
            &Wanted::Kind(Kind::Podman),
            &[("DOCKER_HOST", "unix:///d"), ("CONTAINER_HOST", "unix:///c"), ("XDG_RUNTIME_DIR", "/r")],
            &[
                "named by DOCKER_HOST: /d",
                "named by CONTAINER_HOST: /c",
                "usual: /var/run/docker.sock",
                "usual: /r/docker.sock",
                "usual: /run/podman/podman.sock",
                "usual: /r/podman/podman.sock",
            ],
        );
        check(&Wanted::Any, &[("DOCKER_HOST", ""), ("DOCKER_CONTEXT", "default"), ("HOME", "/nowhere")], &USUAL);
        check(
            &Wanted::Any,
            &[("DOCKER_HOST", "unix:///run/podman/podman.sock")],
            &["named by DOCKER_HOST: /run/podman/podman.sock", "usual: /var/run/docker.sock"],
        );
    }

    #[test]
    fn a_context_that_cannot_be_read_is_no_reason_to_take_another_engine() {
        let found = places(&Wanted::Any, &variables(&[("DOCKER_CONTEXT", "box\u{1b}"), ("HOME", "/nowhere")]));
        assert_eq!(found[0].weight, Weight::Named);
        assert_eq!(found[0].by, "named by the docker context \"box\"");
        found[0].socket.as_ref().expect_err("there is none");
    }
}
