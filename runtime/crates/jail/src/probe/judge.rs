//! From facts and observations to findings: pure.
//! It never looks at the machine.

use super::experiment::{FILES_OPEN, SIGNALS_WAIT};
use super::machine::{Container, Machine};
use super::{Experiment, Finding, Observation, Subject};
use crate::cgroup::Support;
use crate::enforced::{Layer, State};

/// Level of Landlock from which every right and scope that we use is there.
const LANDLOCK_WHOLE: u8 = 6;
/// Level below which the wall without namespaces is refused.
const LANDLOCK_ALONE: u8 = 4;

/// All findings, in the order in which a person should mend them.
pub(super) fn findings(machine: &Machine, observations: &[(Experiment, Observation)]) -> Vec<Finding> {
    let seen = |experiment: Experiment| {
        let refused = Observation::Refused { step: "not tried".to_owned(), errno: 0 };
        observations.iter().find(|(tried, _)| *tried == experiment).map_or(refused, |(_, seen)| seen.clone())
    };
    let mut all = vec![kernel(machine)];
    let user = user_namespace(machine, &seen(Experiment::UserNamespace));
    let has_user = user.state == State::Active;
    all.push(user);
    all.extend(namespaces(machine, &seen(Experiment::OtherNamespaces)));
    all.push(mounts(machine, Subject::Layer(Layer::Root), "a root of its own", &seen(Experiment::Mount)));
    all.push(mounts(machine, Subject::Proc, "a /proc of its own", &seen(Experiment::Proc)));
    all.push(mounts(machine, Subject::Overlay, "copy-on-write workspaces", &seen(Experiment::Overlay)));
    all.push(mounts(machine, Subject::Terminals, "terminals of its own", &seen(Experiment::Terminals)));
    all.push(id_mapped(machine));
    all.push(landlock(machine));
    all.push(seccomp(machine));
    all.push(recorder(has_user, &seen(Experiment::Listener)));
    all.extend(unconditional(has_user));
    all.extend(limits(machine));
    all.push(yama(machine));
    all
}

fn kernel(machine: &Machine) -> Finding {
    let inside = match machine.container {
        Container::No => "",
        Container::Docker => ", /.dockerenv is there: in a Docker container",
        Container::Podman => ", /run/.containerenv is there: in a Podman container",
        Container::Other => ", in a container",
    };
    let detail = format!("Linux {}{inside}", machine.kernel);
    // 5.13 has Landlock, 5.11 overlays in user namespaces, 5.12 mount_setattr.
    if version(&machine.kernel) >= (5, 13) {
        finding(Subject::Kernel, State::Active, detail, None)
    } else {
        finding(Subject::Kernel, State::Degraded("older than 5.13".to_owned()), detail, None)
    }
}

/// The user namespace, on which all others rest.
fn user_namespace(machine: &Machine, seen: &Observation) -> Finding {
    let subject = Subject::Layer(Layer::UserNamespace);
    let Observation::Refused { step, errno } = seen else {
        return finding(subject, State::Active, "entered one".to_owned(), None);
    };
    let (why, fix) = if machine.max_user_namespaces == Some(0) {
        ("user.max_user_namespaces is 0", Some("sudo sysctl -w user.max_user_namespaces=15000".to_owned()))
    } else if machine.uid != 0 && machine.unprivileged_userns_clone == Some(0) {
        ("kernel.unprivileged_userns_clone is 0", Some("sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned()))
    } else if machine.uid != 0 && machine.apparmor_restrict_userns.is_some_and(|value| value != 0) {
        ("AppArmor lets only programs with a profile make user namespaces", Some(apparmor_fix(&machine.program)))
    } else if let Some(fix) = container_fix(machine, "seccomp=unconfined").filter(|_| *errno == libc::EPERM) {
        ("the container's seccomp list refuses them", Some(fix))
    } else {
        ("the kernel refuses them", None)
    };
    let profile =
        machine.apparmor_profile.as_deref().map_or(String::new(), |name| format!(" (AppArmor profile \"{name}\")"));
    finding(subject, State::Absent(why.to_owned()), format!("{step}: error {errno}{profile}"), fix)
}

/// The narrow mending: a profile for this one program, rather than the sysctl that opens namespaces to all.
fn apparmor_fix(program: &str) -> String {
    format!(
        "printf 'abi <abi/4.0>,\\nprofile stockade \"{program}\" flags=(unconfined) {{\\n  userns,\\n}}\\n' | \
         sudo tee /etc/apparmor.d/stockade >/dev/null && sudo apparmor_parser -r /etc/apparmor.d/stockade"
    )
}

/// The same container with one more option, where we are in one.
fn container_fix(machine: &Machine, option: &str) -> Option<String> {
    match machine.container {
        Container::No => None,
        Container::Docker => Some(format!("docker run --security-opt {option} …")),
        Container::Podman if option == "systempaths=unconfined" => {
            Some("podman run --security-opt unmask=ALL …".to_owned())
        }
        Container::Podman => Some(format!("podman run --security-opt {option} …")),
        Container::Other => Some(format!("start the container with the security option {option}")),
    }
}

/// The other namespaces: they stand or fall together, at the step that was refused.
fn namespaces(machine: &Machine, seen: &Observation) -> Vec<Finding> {
    let layers = [
        (Layer::MountNamespace, "unshare(CLONE_NEWNS)"),
        (Layer::PidNamespace, "unshare(CLONE_NEWPID)"),
        (Layer::NetNamespace, "unshare(CLONE_NEWNET)"),
        (Layer::IpcNamespace, "unshare(CLONE_NEWIPC)"),
        (Layer::UtsNamespace, "unshare(CLONE_NEWUTS)"),
        (Layer::CgroupNamespace, "unshare(CLONE_NEWCGROUP)"),
    ];
    // Steps are tried in this order: those before the refused one worked.
    let refused_at = match seen {
        Observation::Works => layers.len(),
        Observation::Refused { step, .. } => layers.iter().position(|(_, name)| name == step).unwrap_or(0),
    };
    let each = layers.iter().enumerate().map(|(index, (layer, name))| match seen {
        Observation::Refused { step, errno } if index >= refused_at => {
            let fix = (step == name).then(|| container_fix(machine, "seccomp=unconfined")).flatten();
            finding(Subject::Layer(*layer), State::Absent(format!("refused at {step}")), format!("error {errno}"), fix)
        }
        Observation::Works | Observation::Refused { .. } => {
            finding(Subject::Layer(*layer), State::Active, "entered one".to_owned(), None)
        }
    });
    each.collect()
}

/// Something that is mounted in the session.
fn mounts(machine: &Machine, subject: Subject, what: &str, seen: &Observation) -> Finding {
    let Observation::Refused { step, errno } = seen else {
        return finding(subject, State::Active, format!("mounted {what}"), None);
    };
    let fix = match subject {
        // A container's masked paths in /proc forbid mounting a fresh one that would show them.
        Subject::Proc => container_fix(machine, "systempaths=unconfined"),
        Subject::Kernel
        | Subject::Layer(_)
        | Subject::Overlay
        | Subject::IdMappedMounts
        | Subject::Terminals
        | Subject::Yama => container_fix(machine, "apparmor=unconfined"),
    };
    // Nothing can be mended here while namespaces are missing: those findings come first and have their own fix.
    let fix = fix.filter(|_| !step.starts_with("unshare"));
    let why = match subject {
        Subject::Overlay => "workspaces are copied instead".to_owned(),
        Subject::Kernel
        | Subject::Layer(_)
        | Subject::Proc
        | Subject::IdMappedMounts
        | Subject::Terminals
        | Subject::Yama => format!("cannot mount {what}"),
    };
    finding(subject, State::Absent(why), format!("{step}: error {errno}"), fix)
}

/// Id-mapped mounts: root alone uses them, and each file system has its own first kernel.
fn id_mapped(machine: &Machine) -> Finding {
    let subject = Subject::IdMappedMounts;
    if machine.uid != 0 {
        finding(subject, State::Active, "not needed: the guest is you".to_owned(), None)
    } else if version(&machine.kernel) >= (5, 19) {
        finding(subject, State::Active, "overlay layers too (5.19)".to_owned(), None)
    } else {
        finding(
            subject,
            State::Absent("older than 5.19".to_owned()),
            "workspaces must belong to the guest".to_owned(),
            None,
        )
    }
}

fn landlock(machine: &Machine) -> Finding {
    let subject = Subject::Layer(Layer::Landlock);
    let level = machine.landlock_level;
    let modules = machine.security_modules.as_deref();
    if level >= LANDLOCK_WHOLE {
        return finding(subject, State::Active, format!("level {level}"), None);
    }
    if level > 0 {
        let why =
            if level < LANDLOCK_ALONE { "too old for the wall without namespaces" } else { "signals are not scoped" };
        return finding(subject, State::Degraded(why.to_owned()), format!("level {level}"), None);
    }
    let off = modules.is_some_and(|list| !list.split(',').any(|name| name == "landlock"));
    if off && version(&machine.kernel) >= (5, 13) {
        let list = format!("lsm=landlock,{}", modules.unwrap_or_default());
        let fix = format!(
            "sudo grubby --update-kernel=ALL --args={list}  # or add {list} to the kernel's command line; then restart"
        );
        return finding(subject, State::Absent("not among the active security modules".to_owned()), list, Some(fix));
    }
    let fix = container_fix(machine, "seccomp=unconfined");
    finding(subject, State::Absent("the kernel does not offer it".to_owned()), "level 0".to_owned(), fix)
}

fn seccomp(machine: &Machine) -> Finding {
    let subject = Subject::Layer(Layer::Seccomp);
    match machine.seccomp_verdicts.as_deref() {
        Some(verdicts)
            if ["kill_process", "errno", "allow"].iter().all(|one| verdicts.split(' ').any(|word| word == *one)) =>
        {
            finding(subject, State::Active, verdicts.to_owned(), None)
        }
        Some(verdicts) => finding(subject, State::Absent("a verdict is missing".to_owned()), verdicts.to_owned(), None),
        None => finding(subject, State::Absent("the kernel was built without filters".to_owned()), String::new(), None),
    }
}

/// Which recorder a session would have.
fn recorder(has_user_namespace: bool, seen: &Observation) -> Finding {
    let found = |state, detail: &str| finding(Subject::Layer(Layer::Recorder), state, detail.to_owned(), None);
    let degraded = |why: &str| State::Degraded(why.to_owned());
    match seen {
        Observation::Works if has_user_namespace => found(State::Active, "notify+addfd"),
        Observation::Works => found(degraded("without namespaces it opens nothing on behalf of a guest"), "notify"),
        Observation::Refused { step, .. } if step == SIGNALS_WAIT => {
            found(degraded("the kernel lets signals end a guest's wait (before Linux 5.19)"), "notify")
        }
        Observation::Refused { step, .. } if step == FILES_OPEN => {
            found(degraded("there is no openat2, with which files are opened for guests"), "notify")
        }
        Observation::Refused { errno: libc::EBUSY, .. } => {
            let why = "somebody outside listens to this process already, and the kernel allows one";
            found(degraded(why), "trace, if that is allowed")
        }
        Observation::Refused { .. } => {
            found(degraded("the kernel does not tell a process of another's system calls"), "trace, if that is allowed")
        }
    }
}

/// Layers that every Linux on which we start has.
fn unconditional(has_user_namespace: bool) -> Vec<Finding> {
    let always = |layer| finding(Subject::Layer(layer), State::Active, "always there".to_owned(), None);
    let lifetime = if has_user_namespace {
        always(Layer::Lifetime)
    } else {
        let why = "without a pid namespace, what leaves the group is found by looking".to_owned();
        finding(Subject::Layer(Layer::Lifetime), State::Degraded(why), String::new(), None)
    };
    vec![always(Layer::Capabilities), always(Layer::NoNewPrivileges), always(Layer::Descriptors), lifetime]
}

/// Limits, by the control groups that could be made.
fn limits(machine: &Machine) -> Vec<Finding> {
    let layers = [(Layer::MemoryLimit, "memory"), (Layer::PidsLimit, "pids"), (Layer::CpuLimit, "cpuacct")];
    let each = layers.into_iter().map(|(layer, controller)| {
        let subject = Subject::Layer(layer);
        match &machine.groups {
            Support::Two(parent) => {
                finding(subject, State::Active, format!("control group version 2 below {}", parent.display()), None)
            }
            Support::One(controllers) if controllers.contains(&controller) => {
                finding(subject, State::Active, format!("control group version 1, {controller}"), None)
            }
            Support::One(_) => {
                finding(subject, State::Degraded("sampled".to_owned()), format!("{controller} is not ours"), None)
            }
            Support::None(why) => {
                finding(subject, State::Degraded("sampled".to_owned()), why.clone(), delegation_fix(machine))
            }
        }
    });
    let disk = finding(
        Subject::Layer(Layer::DiskLimit),
        State::Degraded("the size of the layer is sampled".to_owned()),
        String::new(),
        None,
    );
    let files = finding(Subject::Layer(Layer::OpenFilesLimit), State::Active, "RLIMIT_NOFILE".to_owned(), None);
    each.chain([disk, files]).collect()
}

/// How to get a group of one's own.
fn delegation_fix(machine: &Machine) -> Option<String> {
    match machine.container {
        Container::No if machine.uid == 0 => Some(format!("systemd-run --scope -p Delegate=yes {} …", machine.program)),
        Container::No => Some(format!("systemd-run --user --scope -p Delegate=yes {} …", machine.program)),
        Container::Docker => Some("docker run --cgroupns=private -v /sys/fs/cgroup:/sys/fs/cgroup:rw …".to_owned()),
        Container::Podman => Some("podman run --security-opt unmask=/sys/fs/cgroup …".to_owned()),
        Container::Other => None,
    }
}

fn yama(machine: &Machine) -> Finding {
    let subject = Subject::Yama;
    match machine.yama {
        Some(0) | None => {
            let fix = machine.yama.map(|_| "sudo sysctl -w kernel.yama.ptrace_scope=1".to_owned());
            let why = "any process of yours can trace another; guests cannot, by their list of calls".to_owned();
            finding(subject, State::Degraded(why), "ptrace_scope 0 or no Yama".to_owned(), fix)
        }
        Some(scope) => finding(subject, State::Active, format!("ptrace_scope {scope}"), None),
    }
}

fn finding(subject: Subject, state: State, detail: String, fix: Option<String>) -> Finding {
    Finding { subject, state, detail, fix }
}

/// Major and minor of a release like `6.8.0-45-generic`; (0, 0) for anything else.
fn version(release: &str) -> (u32, u32) {
    let mut parts = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforced::Grade;
    use crate::probe::grade;

    fn machine() -> Machine {
        Machine {
            program: "/usr/bin/stockade".to_owned(),
            kernel: "6.8.0-45-generic".to_owned(),
            uid: 1000,
            container: Container::No,
            max_user_namespaces: Some(15000),
            unprivileged_userns_clone: None,
            apparmor_restrict_userns: None,
            apparmor_profile: None,
            landlock_level: 7,
            security_modules: Some("lockdown,capability,landlock,yama".to_owned()),
            seccomp_verdicts: Some("kill_process kill_thread trap errno user_notif trace log allow".to_owned()),
            groups: Support::Two("/sys/fs/cgroup/x".into()),
            yama: Some(1),
        }
    }

    fn all(seen: &Observation) -> Vec<(Experiment, Observation)> {
        Experiment::ALL.map(|experiment| (experiment, seen.clone())).to_vec()
    }

    fn refused() -> Vec<(Experiment, Observation)> {
        all(&Observation::Refused { step: "unshare(CLONE_NEWUSER)".to_owned(), errno: 1 })
    }

    #[track_caller]
    fn check(machine: &Machine, seen: &[(Experiment, Observation)], subject: Subject, fix: Option<&str>) {
        let found = findings(machine, seen);
        let one = found.iter().find(|finding| finding.subject == subject).unwrap();
        assert_eq!(one.fix.is_some(), fix.is_some(), "{one:?}");
        assert!(fix.is_none_or(|part| one.fix.as_deref().unwrap().contains(part)), "{one:?}");
    }

    #[test]
    fn each_recorder_is_told_from_what_the_kernel_answers() {
        let refused = |step: &str, errno| Observation::Refused { step: step.to_owned(), errno };
        for (has_user_namespace, seen, right) in [
            (true, Observation::Works, "notify+addfd"),
            (false, Observation::Works, "notify"),
            (true, refused(SIGNALS_WAIT, libc::EINVAL), "notify"),
            (true, refused(FILES_OPEN, libc::ENOSYS), "notify"),
            (true, refused("listen to system calls", libc::EBUSY), "trace, if that is allowed"),
            (true, refused("listen to system calls", libc::EINVAL), "trace, if that is allowed"),
        ] {
            let found = recorder(has_user_namespace, &seen);
            assert_eq!(found.detail, right, "{found:?}");
            assert_eq!(found.state == State::Active, right == "notify+addfd", "{found:?}");
        }
    }

    const USER: Subject = Subject::Layer(Layer::UserNamespace);

    #[test]
    fn grades() {
        assert_eq!(grade(&findings(&machine(), &all(&Observation::Works))), Grade::Full);
        assert_eq!(grade(&findings(&machine(), &refused())), Grade::Partial);
        let old = Machine { landlock_level: 0, ..machine() };
        assert_eq!(grade(&findings(&old, &refused())), Grade::None);
        assert_eq!(grade(&findings(&machine(), &[])), Grade::Partial);
    }

    #[test]
    fn each_obstacle_has_its_own_command() {
        check(
            &Machine { max_user_namespaces: Some(0), ..machine() },
            &refused(),
            USER,
            Some("user.max_user_namespaces"),
        );
        check(&Machine { unprivileged_userns_clone: Some(0), ..machine() }, &refused(), USER, Some("userns_clone=1"));
        check(&Machine { apparmor_restrict_userns: Some(1), ..machine() }, &refused(), USER, Some("apparmor_parser"));
        check(
            &Machine { container: Container::Docker, ..machine() },
            &refused(),
            USER,
            Some("docker run --security-opt seccomp"),
        );
        check(&machine(), &refused(), USER, None);
        let masked = all(&Observation::Refused { step: "mount in a new pid namespace".to_owned(), errno: 1 });
        check(
            &Machine { container: Container::Docker, ..machine() },
            &masked,
            Subject::Proc,
            Some("systempaths=unconfined"),
        );
        let memory = Subject::Layer(Layer::MemoryLimit);
        let none = Machine { groups: Support::None("not writable".to_owned()), ..machine() };
        check(&none, &all(&Observation::Works), memory, Some("systemd-run --user --scope"));
        let off = Machine { landlock_level: 0, security_modules: Some("capability".to_owned()), ..machine() };
        check(&off, &all(&Observation::Works), Subject::Layer(Layer::Landlock), Some("lsm=landlock,capability"));
    }

    #[test]
    fn versions() {
        assert_eq!(version("6.18.44-fc"), (6, 18));
        assert_eq!(version("5.4"), (5, 4));
        assert_eq!(version("nonsense"), (0, 0));
    }
}
