//! A container in Docker's words: the request that makes it, hardened by construction, and what Docker says it is.
//! It has no option that weakens it: whatever is not in a `Spec` is written here once, for every container.

use super::about::{About, Ids};
use super::facts::{Facts, Process, asked_limit, asked_mounts, digest, limit, list, mount};
use super::spec::{Access, LABEL, Mount, Spec};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum,
    HostConfigLogConfig, Mount as BindMount, MountBindOptions, MountBindOptionsPropagationEnum, MountPoint,
    MountTmpfsOptions, MountType, RestartPolicy, RestartPolicyNameEnum,
};
use std::collections::HashMap;

/// Value of our label: the form of what is inside.
pub(super) const LABEL_VALUE: &str = "1";
/// Size of what covers a volume, bytes: one page, which nothing can be written to.
const COVER_BYTES: i64 = 4096;
/// Argument of gVisor's runtime by which it takes no part in cgroups, and so keeps no limit.
const IGNORES_CGROUPS: &str = "--ignore-cgroups";

/// The request that makes a container. `volumes` are the ones that the image declares.
pub(super) fn body(spec: &Spec, about: &About, volumes: &[String]) -> ContainerCreateBody {
    let labels = spec.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    let own = (LABEL.to_owned(), LABEL_VALUE.to_owned());
    ContainerCreateBody {
        image: Some(spec.image_id.clone()),
        user: Some(user(spec)),
        entrypoint: Some(spec.entrypoint.clone()),
        // None of the image's: they would be arguments.
        cmd: Some(Vec::new()),
        working_dir: Some("/".to_owned()),
        // The engine would run the image's check beside our init.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(labels.chain([own]).collect::<HashMap<_, _>>()),
        tty: Some(false),
        open_stdin: Some(false),
        attach_stdin: Some(false),
        attach_stdout: Some(false),
        attach_stderr: Some(false),
        network_disabled: Some(true),
        host_config: Some(host_config(spec, about, volumes)),
        ..ContainerCreateBody::default()
    }
}

fn user(spec: &Spec) -> String {
    format!("{}:{}", spec.user.0, spec.user.1)
}

fn host_config(spec: &Spec, about: &About, volumes: &[String]) -> HostConfig {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let memory = spec.memory_bytes.map(number);
    let covered =
        volumes.iter().filter(|volume| !spec.mounts.iter().any(|own| own.target.as_os_str() == volume.as_str()));
    HostConfig {
        runtime: spec.runtime.clone(),
        privileged: Some(false),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(Vec::new()),
        group_add: Some(Vec::new()),
        security_opt: Some(security_options(spec, about)),
        network_mode: Some("none".to_owned()),
        ipc_mode: Some("private".to_owned()),
        // Their private namespaces have no name: it is what an empty text means.
        pid_mode: Some(String::new()),
        uts_mode: Some(String::new()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        userns_mode: Some(users(about).to_owned()),
        devices: Some(Vec::new()),
        device_requests: Some(Vec::new()),
        memory,
        // Memory and swap together: as much as memory alone is none of swap.
        memory_swap: memory,
        pids_limit: spec.pids.map(number),
        oom_kill_disable: Some(false),
        auto_remove: Some(true),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        // What a session says goes through our own channel; nothing of it belongs into a file of the engine's.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        init: Some(false),
        // No masks over /proc: our init makes, in a user namespace below this one, a root and a /proc of its own, with masks
        // of its own, and the kernel refuses a new /proc to who can see only one with parts covered (mount_too_revealing,
        // user_namespaces(7)). Whoever is in the container before that is our init alone.
        masked_paths: Some(Vec::new()),
        readonly_paths: Some(Vec::new()),
        mounts: Some(spec.mounts.iter().map(bind).chain(covered.map(|volume| cover(volume))).collect()),
        ..HostConfig::default()
    }
}

/// Docker with its users remapped would map our init's numbers once more, and its files would be nobody's: our init always
/// makes a user namespace of its own, so that nothing inside is a user of the host's.
fn users(about: &About) -> &'static str {
    match about.ids {
        Ids::Remapped => "host",
        Ids::Host => "",
    }
}

fn security_options(spec: &Spec, about: &About) -> Vec<String> {
    let mut options = vec!["no-new-privileges:true".to_owned(), format!("seccomp={}", spec.seccomp)];
    options.extend(label_options(about));
    options
}

/// Docker's profile for AppArmor forbids mount(2) altogether, and SELinux' type for containers likewise: the root that our
/// init makes needs it. They are turned off only where they are on.
fn label_options(about: &About) -> Vec<String> {
    let mut options = Vec::new();
    if about.has("apparmor") {
        options.push("apparmor=unconfined".to_owned());
    }
    if about.has("selinux") {
        options.push("label=disable".to_owned());
    }
    options
}

fn bind(mount: &Mount) -> BindMount {
    BindMount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.display().to_string()),
        target: Some(mount.target.display().to_string()),
        read_only: Some(mount.access == Access::ReadOnly),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            // Read-only is not recursive before Docker 25: what lies below would be writable, so it is left out.
            non_recursive: Some(mount.access == Access::ReadOnly),
            create_mountpoint: Some(false),
            ..MountBindOptions::default()
        }),
        ..BindMount::default()
    }
}

/// A volume that an image declares is a writable directory on the host's disk, whatever the root is. Something that cannot
/// be written lies there instead.
fn cover(volume: &str) -> BindMount {
    BindMount {
        typ: Some(MountType::TMPFS),
        target: Some(volume.to_owned()),
        read_only: Some(true),
        tmpfs_options: Some(MountTmpfsOptions { size_bytes: Some(COVER_BYTES), ..MountTmpfsOptions::default() }),
        ..BindMount::default()
    }
}

/// Docker's description of the container, beside what was asked.
pub(super) fn facts(spec: &Spec, about: &About, volumes: &[String], is: &ContainerInspectResponse) -> Facts {
    let mut facts = Facts::default();
    let config = is.config.clone().unwrap_or_default();
    let host = is.host_config.clone().unwrap_or_default();
    facts.add("image", &spec.image_id, is.image.as_deref().unwrap_or_default());
    let runtime = spec.runtime.as_ref().unwrap_or(&about.default_runtime);
    facts.add("runtime", runtime, host.runtime.as_deref().unwrap_or_default());
    facts.add("user", user(spec), config.user.as_deref().unwrap_or_default());
    let started: Vec<String> = is.path.iter().chain(is.args.iter().flatten()).cloned().collect();
    facts.add("first process", spec.entrypoint.join(" "), started.join(" "));
    facts.add("root", "read-only", if host.readonly_rootfs == Some(true) { "read-only" } else { "writable" });
    privileges(spec, about, &host, &mut facts);
    namespaces(about, &host, &mut facts);
    limits(spec, about, &host, &mut facts);
    let test = config.healthcheck.and_then(|check| check.test).unwrap_or_default();
    facts.add("checks by the engine", "NONE", list(&test));
    let restart = host.restart_policy.as_ref().and_then(|policy| policy.name).map(|name| name.to_string());
    facts.add("restart", "no", restart.unwrap_or_default());
    let log = host.log_config.as_ref().and_then(|log| log.typ.clone());
    facts.add("log of the engine", "none", log.unwrap_or_default());
    facts.add("removed at its end", "yes", if host.auto_remove == Some(true) { "yes" } else { "no" });
    facts.add("init of the engine", "no", if host.init == Some(true) { "yes" } else { "no" });
    facts.none(
        "masks over /proc",
        &[host.masked_paths, host.readonly_paths].into_iter().flatten().flatten().collect::<Vec<_>>(),
    );
    mounts(spec, volumes, is.mounts.as_deref().unwrap_or_default(), &mut facts);
    let state = is.state.as_ref().filter(|state| state.running == Some(true));
    let pid = state.and_then(|state| state.pid).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    pid.and_then(Process::of).iter().for_each(|process| process.tell(&mut facts));
    facts
}

fn privileges(spec: &Spec, about: &About, host: &HostConfig, facts: &mut Facts) {
    let dropped = host.cap_drop.clone().unwrap_or_default();
    let added = host.cap_add.clone().unwrap_or_default();
    let drops_all = dropped.iter().any(|name| name.eq_ignore_ascii_case("all"));
    let capabilities = match (drops_all, added.is_empty()) {
        (true, true) => "none".to_owned(),
        (true, false) => list(&added),
        (false, _) => format!("the engine's, without {}, with {}", list(&dropped), list(&added)),
    };
    facts.add("capabilities", "none", capabilities);
    facts.add("privileged", "no", if host.privileged == Some(false) { "no" } else { "yes" });
    let options = host.security_opt.clone().unwrap_or_default();
    let has = |names: &[&str]| options.iter().any(|option| names.contains(&option.as_str()));
    let no_new = has(&["no-new-privileges:true", "no-new-privileges=true", "no-new-privileges"]);
    facts.add("no new privileges", "yes", if no_new { "yes" } else { "no" });
    let seccomp = options.iter().find_map(|option| option.strip_prefix("seccomp="));
    facts.add("seccomp", digest(&spec.seccomp), seccomp.map_or_else(|| "the engine's".to_owned(), digest));
    let others = options.into_iter().filter(|o| !o.starts_with("no-new-privileges") && !o.starts_with("seccomp="));
    facts.add("other security options", list(&label_options(about)), list(&others.collect::<Vec<_>>()));
    let devices: Vec<String> = host.devices.iter().flatten().filter_map(|device| device.path_on_host.clone()).collect();
    facts.none("devices", &devices);
    let requests = host.device_requests.iter().flatten().map(|request| format!("{:?}", request.driver));
    facts.none(
        "requests for devices",
        &requests.chain(host.device_cgroup_rules.clone().unwrap_or_default()).collect::<Vec<_>>(),
    );
    facts.none("other groups", host.group_add.as_deref().unwrap_or_default());
}

fn namespaces(about: &About, host: &HostConfig, facts: &mut Facts) {
    let private =
        |mode: &Option<String>| mode.clone().filter(|mode| !mode.is_empty()).unwrap_or_else(|| "private".to_owned());
    facts.add("network", "none", host.network_mode.as_deref().unwrap_or_default());
    facts.add("ipc namespace", "private", host.ipc_mode.as_deref().unwrap_or_default());
    facts.add("pid namespace", "private", private(&host.pid_mode));
    facts.add("uts namespace", "private", private(&host.uts_mode));
    let cgroup = host.cgroupns_mode.map(|mode| mode.to_string()).unwrap_or_default();
    facts.add("cgroup namespace", "private", cgroup);
    let daemon = |mode: &str| if mode.is_empty() { "the daemon's".to_owned() } else { mode.to_owned() };
    facts.add("user namespace", daemon(users(about)), daemon(host.userns_mode.as_deref().unwrap_or_default()));
}

fn limits(spec: &Spec, about: &About, host: &HostConfig, facts: &mut Facts) {
    let runtime = spec.runtime.as_ref().unwrap_or(&about.default_runtime);
    let arguments = about.runtimes.get(runtime).map(Vec::as_slice).unwrap_or_default();
    let ignored = arguments.iter().any(|argument| argument.trim_end_matches("=true").ends_with(&IGNORES_CGROUPS[1..]));
    // The engine repeats what it was asked; what its own arguments tell the runtime to leave out is not kept.
    let kept = |found: Option<i64>| {
        let found = limit(found);
        if ignored && found != "unlimited" {
            format!("{found}, which {runtime} ignores by {IGNORES_CGROUPS}")
        } else {
            found
        }
    };
    facts.add("memory, bytes", asked_limit(spec.memory_bytes), kept(host.memory));
    facts.add("memory and swap, bytes", asked_limit(spec.memory_bytes), kept(host.memory_swap));
    facts.add("processes", asked_limit(spec.pids), kept(host.pids_limit));
    facts.add("killed when out of memory", "yes", if host.oom_kill_disable == Some(true) { "no" } else { "yes" });
}

fn mounts(spec: &Spec, volumes: &[String], found: &[MountPoint], facts: &mut Facts) {
    let mut asked = asked_mounts(spec);
    let covered =
        volumes.iter().filter(|volume| !spec.mounts.iter().any(|own| own.target.as_os_str() == volume.as_str()));
    asked.extend(covered.map(|volume| mount("tmpfs", "", volume, Access::ReadOnly)));
    asked.sort();
    let text = |point: &MountPoint| {
        let word = |text: &Option<String>| text.clone().unwrap_or_default();
        let access = if point.rw == Some(false) { Access::ReadOnly } else { Access::ReadWrite };
        mount(&word(&point.typ), &word(&point.source), &word(&point.destination), access)
    };
    let mut is: Vec<String> = found.iter().map(text).collect();
    is.sort();
    facts.add("mounts", list(&asked), list(&is));
}
