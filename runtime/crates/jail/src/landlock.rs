//! Landlock: rights by path, TCP, and scopes for signals and abstract sockets, for the calling process and its children.
//! It never grants what the plan does not name, and never passes over a path that it could not open.

use crate::enforced::{Layer, LayerState};
use crate::error::{Fault, JailError};
use crate::plan::{LandlockRule, PathRights, Tcp};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// The newest level whose rights this file knows how to map. A newer kernel confines by this one, a decision of ours
/// rather than of a library's update: a right that is handled and not granted is refused.
const LEVEL_MAX: u8 = 7;
/// The level that the wall without namespaces rests on: TCP, and with it everything before (truncation: level 3).
const LEVEL_WITHOUT_NAMESPACES: u8 = 4;

/// Confines the calling process irrevocably. Needs `no_new_privs`, which it sets.
///
/// With [`Tcp::Refused`] no namespace stands behind, so a kernel that cannot refuse TCP and truncation is an error.
/// With [`Tcp::LeftToNamespace`] an older level is a degraded layer, and no Landlock at all an absent one.
///
/// # Errors
/// A path that cannot be opened, the kernel's answer, or a kernel that is too old for a wall without namespaces.
pub fn restrict_self(rules: &[LandlockRule], tcp: Tcp) -> Result<LayerState, JailError> {
    restrict_and_tell(rules, tcp, None).map(|(layer, _)| layer)
}

/// What a rule was put on. A path can come to lead elsewhere; rights stay where they were put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Of its file system.
    pub device: u64,
    /// In that.
    pub inode: u64,
}

/// The same, telling on what each rule was put; or, with what somebody else's rules were put on, leaving out each rule
/// whose path leads to something else by now, or nowhere: who took them on first has no right there either.
///
/// # Errors
/// As of [`restrict_self`].
pub(crate) fn restrict_and_tell(
    rules: &[LandlockRule],
    tcp: Tcp,
    same: Option<&[Identity]>,
) -> Result<(LayerState, Vec<Identity>), JailError> {
    let level = level()?.min(LEVEL_MAX);
    match (level, tcp) {
        (LEVEL_WITHOUT_NAMESPACES.., _) | (1.., Tcp::LeftToNamespace) => confine(rules, tcp, level, same),
        (0, Tcp::LeftToNamespace) => {
            let absent =
                LayerState::absent(Layer::Landlock, "the kernel has no Landlock, or it is not in its lsm= list");
            Ok((absent, Vec::new()))
        }
        (found, Tcp::Refused) => Err(JailError::host(
            "confine with Landlock",
            format!("level {found}, where a wall without namespaces needs {LEVEL_WITHOUT_NAMESPACES}"),
        )
        .hint("use Linux 6.7 or newer with landlock in its lsm= list, or allow user namespaces (`stockade doctor`)")),
    }
}

/// The level of Landlock that the running kernel has, 0 for none.
///
/// # Errors
/// An answer that landlock_create_ruleset(2) does not document.
pub fn level() -> Result<u8, JailError> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    const NO_ATTRIBUTES: usize = 0;
    // SAFETY: with LANDLOCK_CREATE_RULESET_VERSION the kernel takes a null pointer and size 0, and reads no memory.
    let answer = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, NO_ATTRIBUTES, NO_ATTRIBUTES, LANDLOCK_CREATE_RULESET_VERSION)
    };
    if answer >= 0 {
        return Ok(u8::try_from(answer).unwrap_or(u8::MAX));
    }
    let error = std::io::Error::last_os_error();
    match error.raw_os_error() {
        // No Landlock in this kernel; not enabled at boot; hidden by an outer sandbox's list of calls.
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM) => Ok(0),
        _ => Err(JailError::io("ask for the level of", "landlock", &error)),
    }
}

/// Builds the rule set of a level that the kernel has, and applies it.
fn confine(
    rules: &[LandlockRule],
    tcp: Tcp,
    level: u8,
    same: Option<&[Identity]>,
) -> Result<(LayerState, Vec<Identity>), JailError> {
    let abi = ABI::from(i32::from(level));
    let failed = |error: &dyn std::fmt::Display| JailError::host("confine with Landlock", error.to_string());
    let mut ruleset = Ruleset::default()
        // The level was asked for above: whatever the kernel does not take now is an error, never a best effort.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))
        .map_err(|error| failed(&error))?;
    if tcp == Tcp::Refused {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi)).map_err(|error| failed(&error))?;
    }
    let scopes = Scope::from_all(abi);
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes).map_err(|error| failed(&error))?;
    }
    let mut ruleset = ruleset.create().map_err(|error| failed(&error))?;
    let mut objects = Vec::with_capacity(rules.len());
    for (position, rule) in rules.iter().enumerate() {
        let known = same.map(|same| same.get(position));
        let opened = match PathFd::new(&rule.path) {
            Err(_) if known.is_some() => continue,
            opened => opened,
        };
        let opened = opened.map_err(|error| {
            JailError::host("open for a Landlock rule", rule.path.display().to_string())
                .hint(error.to_string())
                .fault(Fault::Operator)
        })?;
        let (node, identity) = node(opened.as_fd(), rule)?;
        if known.is_some_and(|known| known != Some(&identity)) {
            continue;
        }
        objects.push(identity);
        let rights = applicable(rights(rule.rights, abi), node, abi);
        ruleset = ruleset.add_rule(PathBeneath::new(opened, rights)).map_err(|error| failed(&error))?;
    }
    let status = ruleset.restrict_self().map_err(|error| failed(&error))?;
    if status.ruleset != RulesetStatus::FullyEnforced || !status.no_new_privs {
        return Err(JailError::host("confine with Landlock", format!("the kernel enforced it in part: {status:?}")));
    }
    Ok((report(level).detail(format!("level {level}, {} rules", objects.len())), objects))
}

/// How good a level is.
fn report(level: u8) -> LayerState {
    let missing: Vec<&str> = [
        (2, "moving files between directories is refused altogether"),
        (3, "truncating by path is not filtered"),
        (5, "device controls are not filtered"),
        (6, "signals and abstract sockets are not scoped"),
    ]
    .into_iter()
    .filter_map(|(since, what)| (level < since).then_some(what))
    .collect();
    if missing.is_empty() {
        LayerState::active(Layer::Landlock)
    } else {
        LayerState::degraded(Layer::Landlock, format!("an older kernel: {}", missing.join("; ")))
    }
}

/// The rights of a set, on a level.
fn rights(rights: PathRights, abi: ABI) -> BitFlags<AccessFs> {
    let all = AccessFs::from_all(abi);
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    // Terminals: a shell on /dev/tty or a pts needs their controls; seccomp refuses those that type.
    let existing = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let set = match rights {
        PathRights::Read => read,
        PathRights::ReadExec => read | AccessFs::Execute,
        PathRights::ReadWriteExisting => existing,
        // Device nodes are made nowhere, with or without Landlock.
        PathRights::ReadWrite => {
            all & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
        }
        PathRights::ReadWriteExec => all & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev),
    };
    set & all
}

/// The kernel refuses a rule on a file that names rights of directories.
fn applicable(rights: BitFlags<AccessFs>, node: Node, abi: ABI) -> BitFlags<AccessFs> {
    match node {
        Node::Directory => rights,
        Node::Other => rights & AccessFs::from_file(abi),
    }
}

/// What a rule stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    Other,
}

/// What an opened path is: asked of the descriptor, so that it cannot have changed since.
fn node(descriptor: BorrowedFd<'_>, rule: &LandlockRule) -> Result<(Node, Identity), JailError> {
    let mut status = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `descriptor` is borrowed from a PathFd that outlives this call, and the kernel writes one `stat`, which
    // `status` has room for.
    if unsafe { libc::fstat(descriptor.as_raw_fd(), status.as_mut_ptr()) } != 0 {
        return Err(JailError::last_os("look at", rule.path.display().to_string()));
    }
    // SAFETY: fstat(2) returned 0, and then it has written the whole structure.
    let status = unsafe { status.assume_init() };
    let node = if status.st_mode & libc::S_IFMT == libc::S_IFDIR { Node::Directory } else { Node::Other };
    Ok((node, Identity { device: status.st_dev, inode: status.st_ino }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETS: [PathRights; 5] = [
        PathRights::Read,
        PathRights::ReadExec,
        PathRights::ReadWriteExisting,
        PathRights::ReadWrite,
        PathRights::ReadWriteExec,
    ];

    #[test]
    fn no_set_grants_more_than_its_name_on_any_level() {
        for level in 1..=LEVEL_MAX {
            let abi = ABI::from(i32::from(level));
            for set in SETS {
                let rights = rights(set, abi);
                assert!(AccessFs::from_all(abi).contains(rights), "{set:?} on {level}");
                let executes = matches!(set, PathRights::ReadExec | PathRights::ReadWriteExec);
                assert_eq!(rights.contains(AccessFs::Execute), executes, "{set:?} on {level}");
                let writes = rights & (AccessFs::WriteFile | AccessFs::Truncate);
                let may_write = !matches!(set, PathRights::Read | PathRights::ReadExec);
                assert_eq!(!writes.is_empty(), may_write, "{set:?} on {level}");
                let makes =
                    rights & (AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::RemoveFile | AccessFs::RemoveDir);
                let may_make = matches!(set, PathRights::ReadWrite | PathRights::ReadWriteExec);
                assert_eq!(!makes.is_empty(), may_make, "{set:?} on {level}");
                assert!((rights & (AccessFs::MakeChar | AccessFs::MakeBlock)).is_empty(), "{set:?} on {level}");
            }
        }
    }

    #[test]
    fn a_rule_on_a_file_names_rights_of_files_only() {
        for level in 1..=LEVEL_MAX {
            let abi = ABI::from(i32::from(level));
            for set in SETS {
                let on_file = applicable(rights(set, abi), Node::Other, abi);
                assert!(AccessFs::from_file(abi).contains(on_file));
            }
        }
    }

    #[test]
    fn an_older_level_is_reported_as_degraded() {
        use crate::enforced::State;
        assert!(matches!(report(1).state, State::Degraded(_)));
        assert!(matches!(report(5).state, State::Degraded(_)));
        assert_eq!(report(6).state, State::Active);
    }
}
