//! Builds the plan of a process-wall session from granted paths and limits: pure, one list of steps, no decision left.
//! It never touches the machine, and never grants what was not granted.

use crate::backend::process::host::Host;
use crate::backend::process::layout::{self, Granted, Grants, Screens};
use crate::backend::process::outlet::{self, OutletView};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use stockade_jail::plan::{
    Access, CallStep, Exec, HostStep, LandlockRule, Limits, Owner, PathRights, Plan, Record, Rlimit, SessionStep,
    Sockets, Tcp, Wall,
};
use stockade_policy as policy;

/// How the guest sees the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// Copy-on-write over the workspace; `layer` holds `upper/` and `work/`.
    Overlay {
        /// Directory of the layer.
        layer: PathBuf,
    },
    /// A directory as it is: the workspace itself, or a copy of it.
    Directory {
        /// The directory.
        source: PathBuf,
    },
}

/// Who the guest is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Name inside.
    pub name: String,
    /// Whose files the workspace shows.
    pub owner: Owner,
}

/// Where a session takes place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Which wall.
    pub wall: Wall,
    /// The workspace's path, on the host and inside alike.
    pub workspace: PathBuf,
    /// How the guest sees it.
    pub view: View,
    /// Path of the home directory inside: private and empty but for what is granted below it.
    pub home: PathBuf,
    /// Whether directories of the host can be shown without their sockets.
    pub screens: Screens,
    /// Private directory of the session on the host, for the wall that has no tmpfs of its own.
    pub scratch: PathBuf,
    /// Who the guest is.
    pub guest: Guest,
    /// Paths that the guest may see and not change.
    pub protected: Vec<PathBuf>,
    /// Directories that hold a protected path, and so may not be moved aside.
    pub pinned: Vec<PathBuf>,
    /// Paths that the guest may not see.
    pub masked: Vec<PathBuf>,
    /// What is recorded.
    pub record: Record,
}

/// Size of the tmpfs that the new root is, MiB: it holds empty directories, links and the files of `/etc`.
const ROOT_MIB: u64 = 16;
/// Size of a private tmpfs when the profile names no `disk_mib`, MiB.
const TMPFS_MIB_DEFAULT: u64 = 1024;
/// Largest `/dev/shm`, MiB.
const SHM_MIB_MAX: u64 = 1024;
/// `RLIMIT_MEMLOCK`, bytes: what libgcrypt and Node ask for, and too little to hurt.
const MEMLOCK_BYTES: u64 = 8 * 1024 * 1024;
/// Where programs look for temporary files.
const TMP: &str = "/tmp";

/// Builds the plan of a session without a way out.
///
/// # Errors
/// Operator: a required path is not there, or a place cannot be used as it is asked for.
pub fn build(granted: &[Granted], limits: Limits, site: &Site, host: &dyn Host) -> Result<Plan> {
    check(site)?;
    match site.wall {
        Wall::Namespaces => namespaces(granted, limits, site, None, host),
        Wall::Landlock => landlock_only(granted, limits, site, host),
    }
}

/// Builds the plan of a session that has a way out.
///
/// # Errors
/// As [`build`]. Bug: the wall has no net namespace, for which `refuse_unenforceable` refuses the grants.
pub fn build_with_outlet(
    granted: &[Granted],
    limits: Limits,
    site: &Site,
    outlet: &OutletView,
    host: &dyn Host,
) -> Result<Plan> {
    check(site)?;
    match site.wall {
        Wall::Namespaces => namespaces(granted, limits, site, Some(outlet), host),
        Wall::Landlock => Err(Error::bug("an outlet was planned for a wall without a net namespace")),
    }
}

/// Refuses workspaces that would show the guest what no grant names.
fn check(site: &Site) -> Result<()> {
    let shown = site.workspace.display();
    if site.workspace == site.home {
        return Err(Error::operator(format!("workspace \"{shown}\" is your home directory"))
            .hint("name the project's own directory: --workspace DIR"));
    }
    if site.home.starts_with(&site.workspace) {
        return Err(Error::operator(format!("workspace \"{shown}\" holds your home directory"))
            .hint("name the project's own directory: --workspace DIR"));
    }
    let reserved = ["/dev", "/proc", "/sys", "/etc", "/usr", "/boot", "/run"];
    match reserved.iter().find(|place| site.workspace.starts_with(place)) {
        None => Ok(()),
        Some(place) => {
            Err(Error::operator(format!("workspace \"{shown}\" lies in \"{place}\", which is the system's"))
                .hint("work in a directory of your own"))
        }
    }
}

/// The plan of the full wall.
fn namespaces(
    granted: &[Granted],
    limits: Limits,
    site: &Site,
    outlet: Option<&OutletView>,
    host: &dyn Host,
) -> Result<Plan> {
    let grants = Grants::new(granted);
    let tmpfs_mib = limits.disk_mib.unwrap_or(TMPFS_MIB_DEFAULT);
    let shm_mib = limits.memory_mib.map_or(SHM_MIB_MAX, |memory| (memory / 2).clamp(1, SHM_MIB_MAX));
    // Made anew inside, so the host's are not shown there.
    let identity = identity_files(site, outlet);
    let mut anew = vec![site.home.clone(), site.workspace.clone(), PathBuf::from(TMP)];
    anew.extend(
        identity
            .iter()
            .filter_map(|step| if let SessionStep::File { path, .. } = step { Some(path.clone()) } else { None }),
    );
    let mounts = layout::mounts(granted, &anew, site.screens, host)?;

    let mut session = vec![
        SessionStep::Namespaces { guest_uid: site.guest.uid, guest_gid: site.guest.gid },
        SessionStep::Hostname("stockade".to_owned()),
        SessionStep::LoopbackUp,
    ];
    session.extend(outlet.map(OutletView::step));
    session.extend([
        SessionStep::Root { size_mib: ROOT_MIB },
        SessionStep::Proc,
        SessionStep::Dev { shm_mib },
        tmpfs(Path::new(TMP), 0o1777, tmpfs_mib, &grants),
        SessionStep::Dir { path: "/var".into(), mode: 0o755 },
        var_tmp(granted, site, tmpfs_mib, &grants),
        SessionStep::Dir { path: "/run".into(), mode: 0o755 },
    ]);
    let covers = outlet.map(|outlet| outlet.covers(&identity, &mounts, host));
    session.extend(identity);
    // Parents sort before what lies below them, so no mount hides an earlier one.
    let mut shown = covers.map_or_else(|| mounts.clone(), |covers| covers.between(&mounts));
    if site.home != Path::new("/") {
        let above = |step: &SessionStep| layout::bound(step).is_some_and(|path| site.home.starts_with(path));
        let place = shown.iter().rposition(above).map_or(0, |last| last + 1);
        shown.insert(place, tmpfs(&site.home, 0o700, tmpfs_mib, &grants));
    }
    session.extend(shown);
    session.extend(workspace(site, &grants));
    session.extend(guarded(site, &session));
    let rules = rules(granted, &session, &mounts, site);
    let copied = matches!(&site.view, View::Directory { source } if *source != site.workspace);
    let workspace = if copied { Vec::new() } else { workspace(site, &grants) };
    let shown: Vec<SessionStep> = mounts.into_iter().chain(workspace).collect();
    let sockets = if layout::shows_sockets(&shown, host) { Sockets::Internet } else { Sockets::Loopback };
    session.extend([
        SessionStep::EnterRoot,
        SessionStep::Keyring,
        SessionStep::NoNewPrivs,
        SessionStep::Landlock { rules, tcp: Tcp::LeftToNamespace },
    ]);
    session.extend(recorder(site));
    session.push(SessionStep::DropCapabilities);
    Ok(Plan {
        wall: Wall::Namespaces,
        host: vec![HostStep::Limits(limits)],
        session,
        call: call_steps(limits, site.record, sockets),
    })
}

/// What keeps the guest from paths that it sees, where it sees them.
fn guarded(site: &Site, shown: &[SessionStep]) -> Vec<SessionStep> {
    let there = |path: &&PathBuf| !is_under_a_tmpfs(path, shown);
    let pinned = site.pinned.iter().filter(there).map(|path| SessionStep::Pin { path: path.clone() });
    let protected = site.protected.iter().filter(there).map(|path| SessionStep::Protect { path: path.clone() });
    let masked = site.masked.iter().filter(there).map(|path| SessionStep::Mask { path: path.clone() });
    pinned.chain(protected).chain(masked).collect()
}

/// Whether an empty private directory, as the home is, lies over whatever the host has at this path.
fn is_under_a_tmpfs(path: &Path, steps: &[SessionStep]) -> bool {
    let place = |step: &SessionStep| {
        if let SessionStep::Tmpfs { path, .. } = step {
            return Some((path.clone(), true));
        }
        let shown = if let SessionStep::Overlay { target, .. } = step { Some(target) } else { layout::bound(step) };
        shown.map(|target| (target.clone(), false))
    };
    // What is mounted last lies on top.
    steps.iter().rev().filter_map(place).find(|(place, _)| path.starts_with(place)).is_some_and(|(_, empty)| empty)
}

/// The step that starts the recorder: confined as its guests are, so after Landlock where that holds the init, and able to
/// read what they point to, so before the capabilities go.
fn recorder(site: &Site) -> Option<SessionStep> {
    (site.record != Record::Off).then_some(SessionStep::Recorder(site.record))
}

/// `/var/tmp` is `/tmp` under another name, unless something of the host is to be shown below it: no mount follows a link.
fn var_tmp(granted: &[Granted], site: &Site, size_mib: u64, grants: &Grants<'_>) -> SessionStep {
    let path = Path::new("/var/tmp");
    let mut shown = granted.iter().map(|granted| granted.path.as_path()).chain([&*site.home, &*site.workspace]);
    if shown.any(|shown| shown.starts_with(path)) {
        return tmpfs(path, 0o1777, size_mib, grants);
    }
    SessionStep::Symlink { path: path.to_owned(), target: TMP.into() }
}

/// A private tmpfs, executable when the profile grants execution there.
fn tmpfs(path: &Path, mode: u32, size_mib: u64, grants: &Grants<'_>) -> SessionStep {
    SessionStep::Tmpfs { path: path.to_owned(), size_mib, mode, exec: grants.at(path).exec }
}

/// Files that say who the guest is; nothing of the host's own accounts or network shows.
fn identity_files(site: &Site, outlet: Option<&OutletView>) -> Vec<SessionStep> {
    let Guest { uid, gid, name, .. } = &site.guest;
    let home = site.home.display();
    let file = |path: &str, content: String| SessionStep::File { path: path.into(), content, mode: 0o444 };
    // Without an outlet nobody answers there: names do not resolve, at once instead of after a time-out.
    let nobody = || "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n".to_owned();
    vec![
        file("/etc/passwd", format!("{name}:x:{uid}:{gid}::{home}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")),
        file("/etc/group", format!("{name}:x:{gid}:\nnogroup:x:65534:\n")),
        file("/etc/hosts", "127.0.0.1 localhost stockade\n::1 localhost stockade\n".to_owned()),
        file("/etc/hostname", "stockade\n".to_owned()),
        file("/etc/resolv.conf", outlet.map_or_else(nobody, |_| outlet::resolv_conf())),
        file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ]
}

/// The workspace's own mount, when anything in it is granted.
fn workspace(site: &Site, grants: &Grants<'_>) -> Vec<SessionStep> {
    if !grants.touches(&site.workspace) {
        return Vec::new();
    }
    let target = site.workspace.clone();
    // A mount cannot be finer than its root: where a part is granted, Landlock holds the rest.
    let within = |right| grants.covers(&target, right) || grants.within(&target).any(|granted| granted.right == right);
    let exec = if within(policy::Access::Exec) { Exec::Allow } else { Exec::Deny };
    let owner = site.guest.owner;
    let bind = |source: &Path, access| SessionStep::Bind {
        source: source.to_owned(),
        target: target.clone(),
        access,
        exec,
        owner,
    };
    match (&site.view, within(policy::Access::Write)) {
        (View::Overlay { layer }, true) => vec![overlay(&target, layer, exec, owner)],
        // A host that replaces a file unmounts what lies over it (rename(2) detaches mounts in every namespace), but not
        // what lies over an overlay's: where something is hidden, reading needs one too.
        (View::Overlay { layer }, false) if site.masked.iter().any(|path| path.starts_with(&target)) => {
            vec![overlay(&target, layer, exec, owner), SessionStep::Protect { path: target }]
        }
        (View::Overlay { .. }, false) => vec![bind(&target, Access::ReadOnly)],
        (View::Directory { source }, true) => vec![bind(source, Access::ReadWrite)],
        (View::Directory { source }, false) => vec![bind(source, Access::ReadOnly)],
    }
}

/// The workspace with a layer over it.
fn overlay(workspace: &Path, layer: &Path, exec: Exec, owner: Owner) -> SessionStep {
    SessionStep::Overlay {
        lower: workspace.to_owned(),
        layer: layer.to_owned(),
        target: workspace.to_owned(),
        exec,
        owner,
    }
}

/// Landlock rules of the full wall.
fn rules(granted: &[Granted], steps: &[SessionStep], mounts: &[SessionStep], site: &Site) -> Vec<LandlockRule> {
    let grants = Grants::new(granted);
    let rule = |path: &Path, rights| LandlockRule { path: path.to_owned(), rights };
    let mut rules = Vec::new();
    // The root shows nothing but what was granted; only a workspace of which a part is granted needs a finer rule.
    if grants.covers(&site.workspace, policy::Access::Read) || !grants.touches(&site.workspace) {
        rules.push(rule(Path::new("/"), PathRights::Read));
    } else {
        rules.extend(["/etc", "/proc", "/run", "/var"].map(|path| rule(Path::new(path), PathRights::Read)));
    }
    rules.extend(device_rules());
    rules.push(rule(Path::new("/dev/shm"), PathRights::ReadWrite));
    rules.extend(steps.iter().filter_map(private));
    rules.extend(layout::rules(granted, mounts));
    rules.extend(workspace_rules(&grants, site));
    rules
}

/// The rule of a private tmpfs: everything, but execution only where the mount has it.
fn private(step: &SessionStep) -> Option<LandlockRule> {
    let SessionStep::Tmpfs { path, exec, .. } = step else { return None };
    let rights = layout::right(layout::Allowed { access: Access::ReadWrite, exec: *exec });
    Some(LandlockRule { path: path.clone(), rights })
}

/// Devices that every program expects to be able to write to.
fn device_rules() -> Vec<LandlockRule> {
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts"]
        .map(|path| LandlockRule { path: path.into(), rights: PathRights::ReadWriteExisting })
        .to_vec()
}

/// Rules for the granted parts of the workspace.
fn workspace_rules(grants: &Grants<'_>, site: &Site) -> Vec<LandlockRule> {
    let whole = grants.touches(&site.workspace) && grants.covers(&site.workspace, policy::Access::Read);
    let root = whole.then(|| site.workspace.clone());
    let mut paths: Vec<PathBuf> =
        root.into_iter().chain(grants.within(&site.workspace).map(|granted| granted.path.clone())).collect();
    paths.sort();
    paths.dedup();
    paths.iter().map(|path| LandlockRule { path: path.clone(), rights: layout::right(grants.at(path)) }).collect()
}

/// The plan where user namespaces are forbidden: the host's own tree, filtered.
fn landlock_only(granted: &[Granted], limits: Limits, site: &Site, host: &dyn Host) -> Result<Plan> {
    let View::Directory { source } = &site.view else {
        return Err(Error::bug("copy-on-write mounts were planned for a wall without mounts"));
    };
    let mut outside: Vec<Granted> = Vec::new();
    let mut inside: Vec<Granted> = Vec::new();
    for one in granted {
        let below = one.path.strip_prefix(&site.workspace).map(|rest| source.join(rest));
        match below {
            Ok(moved) => inside.push(Granted { path: moved, ..one.clone() }),
            Err(_) => outside.push(one.clone()),
        }
    }
    let mounts = layout::mounts(&outside, &[site.home.clone(), PathBuf::from(TMP)], Screens::Missing, host)?;
    let mut rules = layout::rules(&outside, &mounts);
    let inner = Site { workspace: source.clone(), ..site.clone() };
    rules.extend(workspace_rules(&Grants::new(&inside), &inner));
    rules.extend(device_rules());
    let scratch_exec = Grants::new(granted).at(Path::new(TMP)).exec;
    let rights = layout::right(layout::Allowed { access: Access::ReadWrite, exec: scratch_exec });
    rules.push(LandlockRule { path: site.scratch.clone(), rights });
    let mut session = vec![
        SessionStep::Keyring,
        // First, since an ordinary user may not lock the secure bits without it.
        SessionStep::NoNewPrivs,
    ];
    session.extend(recorder(site));
    session.extend([SessionStep::DropCapabilities, SessionStep::Landlock { rules, tcp: Tcp::Refused }]);
    Ok(Plan {
        wall: Wall::Landlock,
        host: vec![HostStep::Limits(limits)],
        session,
        call: call_steps(limits, site.record, Sockets::PairsOnly),
    })
}

/// What every call does between fork and exec.
fn call_steps(limits: Limits, record: Record, sockets: Sockets) -> Vec<CallStep> {
    const MIB: u64 = 1024 * 1024;
    let bounded = |resource, value: Option<u64>| value.map(|value| CallStep::Rlimit { resource, value });
    let mut steps = vec![CallStep::OwnSession, CallStep::Rlimit { resource: Rlimit::Core, value: 0 }];
    steps.push(CallStep::Rlimit { resource: Rlimit::LockedMemory, value: MEMLOCK_BYTES });
    steps.extend(bounded(Rlimit::OpenFiles, limits.open_files));
    // One more than the control group allows, where there is one: the kernel counts the refusals of a group only.
    let more = record.threads_of_the_init() + 1;
    steps.extend(bounded(Rlimit::Pids, limits.pids.map(|pids| pids.saturating_add(more))));
    steps.extend(bounded(Rlimit::FileSize, limits.disk_mib.map(|mib| mib.saturating_mul(MIB))));
    steps.extend([CallStep::CloseDescriptors, CallStep::Seccomp { sockets }]);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_top_says_whether_a_path_is_there() {
        let show = |path: &str| SessionStep::Bind {
            source: path.into(),
            target: path.into(),
            access: Access::ReadOnly,
            exec: Exec::Deny,
            owner: Owner::AsIs,
        };
        let private = SessionStep::Tmpfs { path: "/data/u".into(), size_mib: 1, mode: 0o700, exec: Exec::Deny };
        let steps = [show("/data"), private, show("/data/u/w")];
        let check =
            |path: &str, expected: bool| assert_eq!(is_under_a_tmpfs(Path::new(path), &steps), expected, "{path}");
        check("/data/u/.local/state", true);
        check("/data/u", true);
        check("/data/u/w/.git", false);
        check("/data/state", false);
        check("/elsewhere", false);
    }
}
