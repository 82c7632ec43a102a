//! Facts about the machine, read from files and two harmless questions to the kernel.
//! It never tries anything out, and draws no conclusion.

use crate::cgroup::{self, Support};
use crate::landlock;
use std::fs;
use std::path::Path;

/// In what this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// No sign of one.
    No,
    /// Docker and its like: `/.dockerenv`.
    Docker,
    /// Podman and its like: `/run/.containerenv`.
    Podman,
    /// Another one that systemd knows of: `/run/systemd/container`, or Kubernetes' service account.
    Other,
}

/// What was read. `None` is a file that does not exist or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Path of our own binary, for commands.
    pub program: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Effective user id.
    pub uid: u32,
    /// Container.
    pub container: Container,
    /// `user.max_user_namespaces`.
    pub max_user_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone` (Debian).
    pub unprivileged_userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu).
    pub apparmor_restrict_userns: Option<u64>,
    /// AppArmor profile of this process.
    pub apparmor_profile: Option<String>,
    /// Landlock's level, 0 for none.
    pub landlock_level: u8,
    /// Active security modules.
    pub security_modules: Option<String>,
    /// Verdicts that seccomp offers.
    pub seccomp_verdicts: Option<String>,
    /// Control groups that could be made.
    pub groups: Support,
    /// `kernel.yama.ptrace_scope`.
    pub yama: Option<u64>,
}

impl Machine {
    /// Reads the facts.
    pub fn read(program: &str) -> Self {
        let text =
            |path: &str| fs::read_to_string(path).ok().map(|text| text.trim_end_matches(['\n', '\0']).to_owned());
        let number = |path: &str| text(path)?.parse::<u64>().ok();
        Self {
            program: program.to_owned(),
            kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            uid: rustix::process::geteuid().as_raw(),
            container: container(),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restrict_userns: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            apparmor_profile: text("/proc/self/attr/apparmor/current"),
            landlock_level: landlock::level().unwrap_or(0),
            security_modules: text("/sys/kernel/security/lsm"),
            seccomp_verdicts: text("/proc/sys/kernel/seccomp/actions_avail"),
            groups: cgroup::support(),
            yama: number("/proc/sys/kernel/yama/ptrace_scope"),
        }
    }
}

/// Looks for the marks that containers leave.
fn container() -> Container {
    let is_there = |path: &str| Path::new(path).exists();
    if is_there("/.dockerenv") {
        Container::Docker
    } else if is_there("/run/.containerenv") {
        Container::Podman
    } else if is_there("/run/systemd/container") || is_there("/var/run/secrets/kubernetes.io") {
        Container::Other
    } else {
        Container::No
    }
}
