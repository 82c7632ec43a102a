//! A container in Podman's own words: the request that makes it, hardened by construction, and what Podman says it is.
//! It has no option that weakens it: whatever is not in a `Spec` is written here once, for every container.
//!
//! Its own interface and not Docker's, which it speaks too: that one leaves out, without a word, private cgroup
//! namespaces and the choice of a runtime, adds three writable directories to a read-only root, and says nothing of
//! capabilities.

use super::about::{About, Rights};
use super::docker::LABEL_VALUE;
use super::facts::{Facts, Process, asked_limit, asked_mounts, limit, list, mount};
use super::spec::{Access, LABEL, Mount, Spec};
use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Where its own interface begins; version 5 still serves the fourth.
pub(super) const API: &str = "/v4.0.0/libpod";

/// A seccomp profile where Podman reads it: it takes no text, but the path of a file, and reads it while it makes the
/// container. The file is removed after that. What it says is no secret.
#[derive(Debug)]
pub(super) struct Profile(PathBuf);

impl Profile {
    /// Writes it under a name that nobody has, so that nobody else's file is taken for it.
    pub(super) fn write(spec: &Spec) -> Result<Self> {
        let path = Path::new("/tmp").join(format!("stockade-seccomp-{}-{}.json", std::process::id(), spec.name));
        let failed = |error: &std::io::Error| Error::io("write the seccomp profile", &path, error);
        // Podman's user may be another one than ours, when root asks an ordinary user's.
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
        let mut file = file.map_err(|error| failed(&error))?;
        let profile = Self(path.clone());
        file.write_all(spec.seccomp.as_bytes()).map_err(|error| failed(&error))?;
        Ok(profile)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!("remove \"{}\": {}", self.0.display(), crate::error::plain(&error));
        }
    }
}

/// The request that makes a container.
pub(super) fn body(spec: &Spec, about: &About, profile: &Profile) -> Value {
    let mut labels = spec.labels.clone();
    labels.insert(LABEL.to_owned(), LABEL_VALUE.to_owned());
    let private = json!({ "nsmode": "private" });
    let mut body = json!({
        "name": spec.name,
        "image": spec.image_id.trim_start_matches("sha256:"),
        "user": format!("{}:{}", spec.user.0, spec.user.1),
        "entrypoint": spec.entrypoint,
        "command": [],
        "work_dir": "/",
        "labels": labels,
        // Variables of the service, proxies with their passwords among them, and Podman's own.
        "env_host": false,
        "httpproxy": false,
        "unsetenvall": true,
        // It would take some programs for systemd, and mount for them what a container does not get else.
        "systemd": "false",
        "sdnotifyMode": "ignore",
        "healthconfig": { "Test": ["NONE"] },
        "terminal": false,
        "stdin": false,
        "init": false,
        "remove": true,
        "restart_policy": "no",
        "log_configuration": { "driver": "none" },
        "privileged": false,
        "cap_drop": ["ALL"],
        "cap_add": [],
        "groups": [],
        "devices": [],
        "no_new_privileges": true,
        "seccomp_profile_path": profile.0,
        "read_only_filesystem": true,
        "read_write_tmpfs": false,
        "image_volume_mode": "ignore",
        "use_image_hosts": true,
        "use_image_resolve_conf": true,
        // For the reason that Docker's masks are empty: our init needs a /proc of its own.
        "unmask": ["ALL"],
        "netns": { "nsmode": "none" },
        "pidns": private,
        "ipcns": private,
        "utsns": private,
        "cgroupns": private,
        // A rootless engine's user is root inside when nothing is said, and their files are root's: `keep-id` leaves
        // their numbers as they are.
        "userns": { "nsmode": match about.rights { Rights::Rootless => "keep-id", Rights::Rootful => "host" } },
        "mounts": spec.mounts.iter().map(bind).collect::<Vec<_>>(),
    });
    let fields = body.as_object_mut().expect("it is written as an object above");
    if let Some(runtime) = &spec.runtime {
        fields.insert("oci_runtime".to_owned(), json!(runtime));
    }
    if let Some(limits) = resource_limits(spec) {
        fields.insert("resource_limits".to_owned(), limits);
    }
    // For the reason that Docker's are turned off: both forbid mount(2).
    if about.has("apparmor") {
        fields.insert("apparmor_profile".to_owned(), json!("unconfined"));
    }
    if about.has("selinux") {
        fields.insert("selinux_opts".to_owned(), json!(["disable"]));
    }
    body
}

fn resource_limits(spec: &Spec) -> Option<Value> {
    let mut limits = Map::new();
    if let Some(bytes) = spec.memory_bytes {
        // Memory and swap together: as much as memory alone is none of swap.
        limits.insert("memory".to_owned(), json!({ "limit": bytes, "swap": bytes }));
    }
    if let Some(pids) = spec.pids {
        limits.insert("pids".to_owned(), json!({ "limit": pids }));
    }
    (!limits.is_empty()).then_some(Value::Object(limits))
}

fn bind(mount: &Mount) -> Value {
    // As Docker's: what lies below something that may be read is left out, since `ro` is not recursive.
    let options = match mount.access {
        Access::ReadOnly => ["bind", "ro", "rprivate"],
        Access::ReadWrite => ["rbind", "rw", "rprivate"],
    };
    json!({ "type": "bind", "source": mount.source, "destination": mount.target, "options": options })
}

/// What Podman says when it has made a container.
#[derive(Debug, Deserialize)]
pub(super) struct Created {
    /// Its id.
    #[serde(rename = "Id")]
    pub(super) id: String,
    /// What it could not do as asked.
    #[serde(rename = "Warnings", default)]
    pub(super) warnings: Option<Vec<String>>,
}

/// Podman's description of a container, as far as it is compared.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Described {
    image: String,
    path: String,
    args: Option<Vec<String>>,
    #[serde(rename = "OCIRuntime")]
    oci_runtime: String,
    effective_caps: Option<Vec<String>>,
    bounding_caps: Option<Vec<String>>,
    mounts: Option<Vec<Point>>,
    state: StateDescribed,
    config: ConfigDescribed,
    host_config: HostDescribed,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Point {
    #[serde(rename = "Type")]
    kind: String,
    source: String,
    destination: String,
    #[serde(rename = "RW")]
    writable: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct StateDescribed {
    running: bool,
    pid: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConfigDescribed {
    user: String,
    healthcheck: Option<CheckDescribed>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CheckDescribed {
    test: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HostDescribed {
    readonly_rootfs: bool,
    privileged: Option<bool>,
    security_opt: Option<Vec<String>>,
    network_mode: String,
    ipc_mode: String,
    pid_mode: String,
    #[serde(rename = "UTSMode")]
    uts_mode: String,
    cgroup_mode: String,
    userns_mode: String,
    memory: Option<i64>,
    memory_swap: Option<i64>,
    pids_limit: Option<i64>,
    oom_kill_disable: bool,
    restart_policy: Named,
    log_config: Typed,
    auto_remove: bool,
    tmpfs: Option<Map<String, Value>>,
    devices: Option<Vec<Value>>,
    group_add: Option<Vec<String>>,
    init: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Named {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Typed {
    #[serde(rename = "Type")]
    kind: String,
}

/// Refuses a container whose runtime is another one than was asked for: before version 5 Podman passes over what it is asked.
pub(super) fn check_runtime(spec: &Spec, is: &Described) -> Result<()> {
    match &spec.runtime {
        Some(asked) if file_name(asked) != file_name(&is.oci_runtime) => {
            let is = file_name(&is.oci_runtime);
            let what = format!("runtime \"{asked}\": this Podman starts every container with \"{is}\"");
            Err(Error::operator(what)
                .hint(format!("set runtime = \"{asked}\" in its containers.conf, or --runtime of its service")))
        }
        Some(_) | None => Ok(()),
    }
}

/// A runtime is a name for one, or a path of one.
fn file_name(runtime: &str) -> &str {
    runtime.rsplit('/').next().unwrap_or(runtime)
}

/// Podman's description of the container, beside what was asked.
pub(super) fn facts(spec: &Spec, about: &About, is: &Described) -> Facts {
    let mut facts = Facts::default();
    let host = &is.host_config;
    let yes = |holds: bool| if holds { "yes" } else { "no" };
    facts.add("image", &spec.image_id, format!("sha256:{}", is.image.trim_start_matches("sha256:")));
    let runtime = spec.runtime.as_ref().unwrap_or(&about.default_runtime);
    facts.add("runtime", file_name(runtime), file_name(&is.oci_runtime));
    facts.add("user", format!("{}:{}", spec.user.0, spec.user.1), &is.config.user);
    let words: Vec<String> = is.args.iter().flatten().cloned().collect();
    // Version 4 lists the program among its own arguments.
    let program = (words.first() != Some(&is.path)).then(|| is.path.clone());
    let started: Vec<String> = program.into_iter().chain(words).collect();
    facts.add("first process", spec.entrypoint.join(" "), started.join(" "));
    facts.add("root", "read-only", if host.readonly_rootfs { "read-only" } else { "writable" });
    let capabilities: Vec<String> =
        [&is.effective_caps, &is.bounding_caps].into_iter().flatten().flatten().cloned().collect();
    facts.none("capabilities", &capabilities);
    facts.add("privileged", "no", yes(host.privileged != Some(false)));
    let no_new = host.security_opt.iter().flatten().any(|option| option.starts_with("no-new-privileges"));
    facts.add("no new privileges", "yes", yes(no_new));
    facts.none("devices", &host.devices.iter().flatten().map(ToString::to_string).collect::<Vec<_>>());
    facts.none("other groups", host.group_add.as_deref().unwrap_or_default());
    namespaces(about, host, &mut facts);
    facts.add("memory, bytes", asked_limit(spec.memory_bytes), limit(host.memory));
    facts.add("memory and swap, bytes", asked_limit(spec.memory_bytes), limit(host.memory_swap));
    facts.add("processes", asked_limit(spec.pids), limit(host.pids_limit));
    facts.add("killed when out of memory", "yes", yes(!host.oom_kill_disable));
    let test = is.config.healthcheck.as_ref().and_then(|check| check.test.clone()).unwrap_or_default();
    facts.add("checks by the engine", "NONE", list(&test));
    facts.add("restart", "no", &host.restart_policy.name);
    facts.add("log of the engine", "none", &host.log_config.kind);
    facts.add("removed at its end", "yes", yes(host.auto_remove));
    facts.add("init of the engine", "no", yes(host.init == Some(true)));
    facts.none(
        "writable directories in memory",
        &host.tmpfs.iter().flatten().map(|(path, _)| path.clone()).collect::<Vec<_>>(),
    );
    facts.add("mounts", list(&asked_mounts(spec)), list(&mounts(is.mounts.as_deref().unwrap_or_default())));
    process(is, &mut facts);
    facts
}

fn namespaces(about: &About, host: &HostDescribed, facts: &mut Facts) {
    // `shareable` is a namespace of its own too: another container may be made to join it, by who can ask the engine.
    let own = |mode: &str| match mode {
        "private" | "shareable" | "none" => "private".to_owned(),
        other => other.to_owned(),
    };
    facts.add("network", "none", &host.network_mode);
    facts.add("ipc namespace", "private", own(&host.ipc_mode));
    facts.add("pid namespace", "private", &host.pid_mode);
    facts.add("uts namespace", "private", &host.uts_mode);
    facts.add("cgroup namespace", "private", &host.cgroup_mode);
    let users = match about.rights {
        Rights::Rootless => "private",
        Rights::Rootful => "",
    };
    facts.add("user namespace", users, &host.userns_mode);
}

fn mounts(found: &[Point]) -> Vec<String> {
    let text = |point: &Point| {
        let access = if point.writable == Some(false) { Access::ReadOnly } else { Access::ReadWrite };
        mount(&point.kind, &point.source, &point.destination, access)
    };
    let mut all: Vec<String> = found.iter().map(text).collect();
    all.sort();
    all
}

/// Podman does not say which profile it took: that there is a filter is to be seen on the process alone.
fn process(is: &Described, facts: &mut Facts) {
    let pid = u32::try_from(is.state.pid).ok().filter(|pid| is.state.running && *pid > 0);
    match pid.and_then(Process::of) {
        Some(process) => process.tell(facts),
        None => facts.add("first process under seccomp", "a filter", "not told before it runs"),
    }
}
