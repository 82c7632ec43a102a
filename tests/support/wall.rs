//! On which wall what a stage starts runs: the process wall, or a container, as the environment of the tests says.
//! It never starts an engine, and leaves alone a command line that names its wall itself.
//!
//! `STOCKADE_TEST_WALL=container` means the third wall, with `STOCKADE_TEST_DOCKER`, an engine's socket that everybody may
//! reach, and `STOCKADE_TEST_IMAGE`, an image that the engine has (`tests/containers/tools-image` makes one). With
//! `STOCKADE_TEST_RUNTIME` the containers run by that runtime of the engine's, and not by its own choice.

use crate::binaries::variable;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// Subcommands that open a sandbox, or say what it would be.
const CONFINING: [&str; 4] = ["run", "session", "mcp", "explain"];
/// The binary under test in the words of a test.
const BINARY: &str = "{bin}/stockade";
/// Label of every container: the directory of all state that its session belongs to.
const LABEL: &str = "io.stockade.state";
/// How long an engine may take to say which containers there are.
const PATIENCE: Duration = Duration::from_secs(30);

/// The wall of this run of the tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wall {
    /// Namespaces on the host.
    Process,
    /// The same inside a container.
    Container {
        /// The engine's socket.
        socket: String,
        /// The image.
        image: String,
        /// The runtime, where it is not the engine's choice.
        runtime: Option<String>,
    },
}

/// The wall of this run.
pub fn this() -> &'static Wall {
    static THIS: OnceLock<Wall> = OnceLock::new();
    THIS.get_or_init(|| {
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
        match text("STOCKADE_TEST_WALL").as_deref() {
            None | Some("process") => Wall::Process,
            Some("container") => Wall::Container {
                socket: text("STOCKADE_TEST_DOCKER").expect("the container wall needs STOCKADE_TEST_DOCKER"),
                image: text("STOCKADE_TEST_IMAGE").expect("the container wall needs STOCKADE_TEST_IMAGE"),
                runtime: text("STOCKADE_TEST_RUNTIME"),
            },
            // A word that is not understood must not become the run of another wall.
            Some(other) => panic!("STOCKADE_TEST_WALL is {other}, neither process nor container"),
        }
    })
}

/// Whether the stories are told on the third wall.
pub fn is_container() -> bool {
    matches!(this(), Wall::Container { .. })
}

/// Whether the containers of the third wall have a kernel of their own.
fn is_gvisor() -> bool {
    matches!(this(), Wall::Container { runtime: Some(runtime), .. } if runtime == "runsc")
}

/// What holds elsewhere and not on gVisor, by the beginnings of stories' names, and why. Each is told to a session's user, by
/// its grade, its layers or an error.
const NOT_ON_GVISOR: [(&str, &str); 16] = [
    ("commands::the_profile_ci_", "the profile's floor is full, and gVisor's grade is partial"),
    ("commands::the_profile_locked_", "the profile's floor is full, and gVisor's grade is partial"),
    ("commands::the_profile_review_only_", "the profile's floor is full, and gVisor's grade is partial"),
    ("fallback::a_weaker_recorder_", "gVisor has no recorder"),
    ("witness::a_name_longer_", "gVisor has no recorder"),
    ("witness::a_secret_in_a_name_", "gVisor has no recorder"),
    ("witness::nothing_is_unexplained_after_", "gVisor has no recorder"),
    ("witness::the_report_names_", "gVisor has no recorder"),
    ("witness::who_else_writes_", "gVisor has no recorder"),
    ("limits::memory_", "the engine gives gVisor no control group, and the limit is reported absent"),
    ("limits::processes_", "the engine gives gVisor no control group, and the limit is reported absent"),
    ("limits::disk_in_many_files_", "the workspace is a copy, and the limit is reported degraded"),
    ("walls::a_bare_address_does_not_hang_", "IPv6 is unreachable inside, and nothing of it is in the log"),
    ("walls::udp_is_not_let_out_", "IPv6 is unreachable inside, and nothing of it is in the log"),
    ("walls::a_hard_coded_resolver_", "IPv6 is unreachable inside"),
    ("surroundings::the_guest_is_not_root", "gVisor's status of a process does not say no_new_privs"),
];

/// Why a story means nothing on this wall, where its containers have a kernel of their own.
pub fn differs(story: &str) -> Option<&'static str> {
    NOT_ON_GVISOR.iter().find(|(name, _)| is_gvisor() && story.starts_with(name)).map(|(_, why)| *why)
}

/// The options of this wall: none, or the image, the engine and its runtime.
pub fn options() -> Vec<String> {
    match this() {
        Wall::Process => Vec::new(),
        Wall::Container { socket, image, runtime } => {
            let address = format!("unix://{socket}");
            let named = [("--image", Some(image)), ("--engine", Some(&address)), ("--runtime", runtime.as_ref())];
            let words = named.into_iter().filter_map(|(option, value)| Some([option.to_owned(), value?.clone()]));
            words.flatten().collect()
        }
    }
}

/// Words of a command line, with the options of this wall where they start a sandbox.
pub fn on_this_wall(words: &[&str]) -> Vec<String> {
    let mut chosen: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let at = words.windows(2).position(|pair| matches!(pair, [BINARY, sub] if CONFINING.contains(sub)));
    let own = words.iter().take_while(|word| **word != "--").any(|word| *word == "--backend" || *word == "--image");
    if let Some(at) = at
        && !own
    {
        chosen.splice(at + 2..at + 2, options());
    }
    chosen
}

/// Containers of the sessions of this directory of state, by the engine's own word: none on the process wall.
///
/// # Errors
/// A text: the engine does not answer.
pub fn containers_of(state: &Path) -> Result<Vec<String>, String> {
    match this() {
        Wall::Process => Ok(Vec::new()),
        Wall::Container { socket, .. } => {
            ask(socket, &format!("{LABEL}={}", state.display())).map_err(|e| format!("the engine at {socket}: {e}"))
        }
    }
}

/// Asks an engine for containers that have a label, whatever became of them.
fn ask(socket: &str, label: &str) -> std::io::Result<Vec<String>> {
    let filters = serde_json::json!({ "label": [label] }).to_string();
    let encoded: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer is whole when the connection ends.
    write!(stream, "GET /containers/json?all=1&filters={encoded} HTTP/1.0\r\nHost: engine\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let containers: Vec<Value> = serde_json::from_str(body).map_err(|_| std::io::Error::other(answer.clone()))?;
    let told = |one: &Value| {
        let text = |key: &str| one.get(key).map(Value::to_string).unwrap_or_default();
        format!("container {} {}", text("Names"), text("Status"))
    };
    Ok(containers.iter().map(told).collect())
}
