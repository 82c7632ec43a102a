//! What an engine is: its make, version, rights and runtimes, as it says them, and as the kernel says of its socket.
//! It never concludes from a name what an engine can enforce.

use super::place::Kind;
use super::trouble::{Trouble, bounded};
use super::wire::{Limits, Wire};
use bollard::ClientVersion;
use bollard::models::SystemInfo;
use hyper::Method;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// How long an engine may take to say what it is, seconds. Less than a request: it is asked where nobody may be.
const ABOUT_S_MAX: u64 = 10;
/// Oldest and newest version of Docker's interface that we speak: 19.03's, which first knew private cgroup namespaces, and
/// the newest that the client knows.
const API_MIN: ClientVersion = ClientVersion { major_version: 1, minor_version: 40 };
/// See [`API_MIN`].
const API_MAX: ClientVersion = ClientVersion { major_version: 1, minor_version: 53 };

/// With whose rights an engine acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Root's.
    Rootful,
    /// An ordinary user's, in a user namespace.
    Rootless,
}

/// Whose numbers a container's users have, when nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// The host's.
    Host,
    /// Others: the engine's daemon maps all of them.
    Remapped,
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its make.
    pub kind: Kind,
    /// Its version.
    pub version: String,
    /// Version of Docker's interface that is spoken with it.
    pub api_version: String,
    /// Its socket.
    pub socket: PathBuf,
    /// With whose rights it acts.
    pub rights: Rights,
    /// Whose numbers its users have.
    pub ids: Ids,
    /// Runtime of a container that names none.
    pub default_runtime: String,
    /// Runtimes by name, with the arguments that the engine starts each with.
    pub runtimes: BTreeMap<String, Vec<String>>,
    /// How it stores images.
    pub storage_driver: String,
    /// Version of cgroups, `1` or `2`; empty when it does not say.
    pub cgroup_version: String,
    /// Who makes cgroups.
    pub cgroup_driver: String,
    /// Architecture, as images name it.
    pub architecture: String,
    /// Security options as given: `name=seccomp,profile=default`.
    pub security_options: Vec<String>,
}

/// Arguments of gVisor's runtime, without dashes, by which its containers may connect to the host's sockets.
const OPEN_SOCKETS: [&str; 2] = ["host-uds=open", "host-uds=all"];

impl About {
    /// Whether a security option of this name is on: `apparmor`, `selinux`, `userns`, `rootless`.
    pub fn has(&self, option: &str) -> bool {
        self.security_options.iter().any(|given| names(given, option))
    }

    /// Whether a runtime of this name is gVisor's (`runsc`).
    pub fn is_gvisor(runtime: &str) -> bool {
        runtime.contains("runsc")
    }

    /// Whether a runtime is gVisor's and was not told to let containers connect to sockets of the host that they are shown,
    /// as far as the engine says what it was told.
    pub fn closes_sockets(&self, runtime: &str) -> bool {
        let arguments = self.runtimes.get(runtime).map(Vec::as_slice).unwrap_or_default();
        let opens = |argument: &String| OPEN_SOCKETS.iter().any(|given| argument.ends_with(given));
        Self::is_gvisor(runtime) && !arguments.iter().any(opens)
    }

    /// Names of the runtimes, for a person.
    pub(super) fn runtime_names(&self) -> String {
        self.runtimes.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

fn names(given: &str, option: &str) -> bool {
    // Docker writes `name=seccomp,profile=default`, older ones and Podman `apparmor`.
    given.split(',').any(|part| part == option || part.strip_prefix("name=") == Some(option))
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "Version", default)]
    version: String,
    #[serde(rename = "ApiVersion")]
    api_version: String,
    #[serde(rename = "MinAPIVersion", default)]
    api_version_min: String,
    #[serde(rename = "Components", default)]
    components: Option<Vec<Component>>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(rename = "Name", default)]
    name: String,
}

/// Asks an engine what it is.
pub(super) fn ask(socket: &Path) -> Result<(Wire, About), Trouble> {
    let owner = owner(socket)?;
    let limits = Limits::answer(ABOUT_S_MAX);
    let unversioned = Wire::new(socket, API_MAX);
    let told = unversioned.ask(limits, |line| async move { line.exchange(Method::GET, "/version", None).await })?;
    let said: Version = serde_json::from_slice(&told).map_err(|error| Trouble::Odd(error.to_string()))?;
    let version = common(&said)?;
    let wire = Wire::new(socket, version);
    let info = wire.ask(limits, |line| async move { Ok(line.docker()?.info().await?) })?;
    let is_podman = said.components.iter().flatten().any(|component| component.name == "Podman Engine");
    let kind = if is_podman { Kind::Podman } else { Kind::Docker };
    let about = about(kind, &said, version, socket, owner, info);
    Ok((wire, about))
}

/// The newest version of the interface that both know.
fn common(said: &Version) -> Result<ClientVersion, Trouble> {
    let read = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<usize>().ok()?, minor.parse::<usize>().ok()?))
    };
    let ours = |version: ClientVersion| (version.major_version, version.minor_version);
    let theirs = read(&said.api_version).ok_or_else(|| Trouble::Odd("it names no version".to_owned()))?;
    let oldest = read(&said.api_version_min).unwrap_or((1, 0));
    let (major, minor) = theirs.min(ours(API_MAX));
    if theirs < ours(API_MIN) || oldest > ours(API_MAX) {
        let (low, high) = (ours(API_MIN), ours(API_MAX));
        return Err(Trouble::Odd(format!(
            "it speaks versions {} to {} of Docker's interface, and we speak {}.{} to {}.{}",
            bounded(&said.api_version_min),
            bounded(&said.api_version),
            low.0,
            low.1,
            high.0,
            high.1
        )));
    }
    Ok(ClientVersion { major_version: major, minor_version: minor })
}

/// The user that serves the socket, as the kernel knows it (`SO_PEERCRED`, unix(7)). It is asked before anything of the
/// engine's: what rights it acts with is not its own to say.
fn owner(socket: &Path) -> Result<u32, Trouble> {
    let stream = UnixStream::connect(socket)?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(std::io::Error::from)?;
    Ok(peer.uid.as_raw())
}

fn about(kind: Kind, said: &Version, version: ClientVersion, socket: &Path, owner: u32, info: SystemInfo) -> About {
    let text = |text: Option<String>| bounded(&text.unwrap_or_default());
    let security_options: Vec<String> = info.security_options.unwrap_or_default().iter().map(|o| bounded(o)).collect();
    let option = |wanted: &str| security_options.iter().any(|given| names(given, wanted));
    let rights = if owner != 0 || option("rootless") { Rights::Rootless } else { Rights::Rootful };
    let runtimes = info.runtimes.unwrap_or_default().into_iter();
    let arguments = |arguments: Option<Vec<String>>| arguments.unwrap_or_default().iter().map(|a| bounded(a)).collect();
    About {
        kind,
        version: bounded(&said.version),
        api_version: format!("{}.{}", version.major_version, version.minor_version),
        socket: socket.to_owned(),
        rights,
        ids: if option("userns") { Ids::Remapped } else { Ids::Host },
        default_runtime: text(info.default_runtime),
        runtimes: runtimes.map(|(name, runtime)| (bounded(&name), arguments(runtime.runtime_args))).collect(),
        storage_driver: text(info.driver),
        cgroup_version: info.cgroup_version.map(|version| version.to_string()).unwrap_or_default(),
        cgroup_driver: info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default(),
        architecture: architecture(&text(info.architecture)).to_owned(),
        security_options,
    }
}

/// The name that images have for an architecture, from the kernel's.
pub(super) fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" => "arm",
        "i686" | "i386" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_without_a_common_one_are_told() {
        let said = |newest: &str, oldest: &str| {
            common(&Version {
                version: String::new(),
                api_version: newest.to_owned(),
                api_version_min: oldest.to_owned(),
                components: None,
            })
        };
        let minor = |newest: &str, oldest: &str| said(newest, oldest).expect("a common one").minor_version;
        assert_eq!(minor("1.41", "1.12"), 41);
        assert_eq!(minor("1.60", "1.44"), 53);
        assert_eq!(minor("1.41", ""), 41);
        for (newest, oldest) in [("1.39", "1.12"), ("1.60", "1.54"), ("", ""), ("2", "1"), ("1.x", "")] {
            said(newest, oldest).expect_err("none");
        }
    }

    #[test]
    fn a_security_option_is_found_however_it_is_written() {
        assert!(names("name=apparmor", "apparmor"));
        assert!(names("name=seccomp,profile=default", "seccomp"));
        assert!(names("apparmor", "apparmor"));
        assert!(!names("name=noapparmor", "apparmor"));
        assert!(!names("profile=apparmor", "apparmor"));
    }
}
