//! Who the guest is outside: the ids that its one inner id stands for, and the id-mapped view of its files.
//! It never leaves the guest with host uid 0 where any other id exists.

use crate::error::{ErrorKind, Fault, JailError};
use crate::mount::Tree;
use crate::sys::{self, MountChange, Side};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// First of the ids that guests have outside when root starts them: no distribution hands these out, and they are
/// below the 2^31 that some file systems stop at.
const BASE: u32 = 0x7000_0000;

/// Ids of the guest, inside and outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) inner_uid: u32,
    pub(crate) inner_gid: u32,
    pub(crate) outer_uid: u32,
    pub(crate) outer_gid: u32,
    pub(crate) starter: Starter,
}

/// Namespaces that map one owner's files to the guest, by the owner's ids on disk: of one guest.
#[derive(Debug, Default)]
pub(crate) struct Mappings(BTreeMap<(u32, u32), OwnedFd>);

/// Who starts the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starter {
    /// Root: the guest gets an id that nobody else has.
    Root,
    /// Anybody else: the guest is that user.
    Ordinary,
}

/// User and group that a guest with these ids inside is outside: whom a directory of the host must belong to that it is
/// to own where no id-mapped mount can be had.
///
/// # Errors
/// The maps of this process cannot be read.
pub fn guest_ids_outside(inner_uid: u32, inner_gid: u32) -> Result<(u32, u32), JailError> {
    let ids = Ids::choose(inner_uid, inner_gid)?;
    Ok((ids.outer_uid, ids.outer_gid))
}

impl Ids {
    /// Chooses the outer ids.
    pub(crate) fn choose(inner_uid: u32, inner_gid: u32) -> Result<Self, JailError> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if !uid.is_root() {
            let (outer_uid, outer_gid) = (uid.as_raw(), gid.as_raw());
            return Ok(Self { inner_uid, inner_gid, outer_uid, outer_gid, starter: Starter::Ordinary });
        }
        let outer_uid = unused_id("/proc/self/uid_map", BASE.saturating_add(inner_uid))?;
        let outer_gid = unused_id("/proc/self/gid_map", BASE.saturating_add(inner_gid))?;
        match (outer_uid, outer_gid) {
            (Some(outer_uid), Some(outer_gid)) => {
                Ok(Self { inner_uid, inner_gid, outer_uid, outer_gid, starter: Starter::Root })
            }
            // The root of a user namespace with one id: an ordinary user outside, and all that there is.
            _ => Ok(Self { inner_uid, inner_gid, outer_uid: 0, outer_gid: 0, starter: Starter::Ordinary }),
        }
    }

    /// Becomes the guest's outer ids, for good; keeps the capabilities that making namespaces may need.
    pub(crate) fn irrevocably_take(&self) -> Result<(), JailError> {
        if self.starter == Starter::Root {
            let act = |act: &'static str, id: u32| {
                move |errno: Errno| JailError::os(act, format!("{id}"), errno.raw_os_error())
            };
            rustix::thread::set_keep_capabilities(true).map_err(act("keep capabilities for", self.outer_uid))?;
            rustix::thread::set_thread_groups(&[]).map_err(act("drop the groups for", self.outer_gid))?;
            let gid = Gid::from_raw(self.outer_gid);
            rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(act("become group", self.outer_gid))?;
            let uid = Uid::from_raw(self.outer_uid);
            rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(act("become user", self.outer_uid))?;
            sys::raise_effective_capabilities().map_err(act("keep capabilities for", self.outer_uid))?;
        }
        // A change of ids makes a process undumpable, and its /proc files root's: the id maps could not be written.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
            .map_err(|errno| JailError::os("prepare", "the id maps", errno.raw_os_error()))
    }

    /// Maps the one inner id, from inside the new user namespace.
    pub(crate) fn write_maps(&self) -> Result<(), JailError> {
        match write_proc("/proc/self/setgroups", "deny") {
            // gVisor has no such file, nor the attack that it is against: who has no capability cannot leave a group there.
            Err(error) if error.errno == Some(libc::ENOENT) => {}
            other => other?,
        }
        write_proc("/proc/self/gid_map", &format!("{} {} 1\n", self.inner_gid, self.outer_gid))?;
        write_proc("/proc/self/uid_map", &format!("{} {} 1\n", self.inner_uid, self.outer_uid))
    }

    /// Shows the files of a tree's owner as the guest's own.
    pub(crate) fn map_owner(&self, tree: &Tree, made: &mut Mappings, path: &Path) -> Result<(), JailError> {
        let stat = rustix::fs::fstat(&tree.fd)
            .map_err(|errno| JailError::os("look at", path.display().to_string(), errno.raw_os_error()))?;
        let (uid, gid) = ((stat.st_uid, self.outer_uid), (stat.st_gid, self.outer_gid));
        let namespace = match made.0.entry((stat.st_uid, stat.st_gid)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let namespace = mapping_namespace(uid, gid)
                    .map_err(|error| JailError::io("make an id mapping for", path.display().to_string(), &error))?;
                new.insert(namespace)
            }
        };
        let change = MountChange { idmap: Some(namespace.as_fd()), recursive: true, ..MountChange::default() };
        sys::mount_setattr(tree.fd.as_fd(), change).map_err(|errno| {
            JailError::os("id-map", path.display().to_string(), errno.raw_os_error())
                .kind(ErrorKind::IdmapRefused)
                .fault(Fault::Host)
                .hint("its file system, or one mounted below it, has no id-mapped mounts; run as the owner of the directory instead of root")
        })
    }
}

/// `wanted`, or the highest mapped id that is not 0, or `None` where 0 is the only one.
fn unused_id(map: &str, wanted: u32) -> Result<Option<u32>, JailError> {
    let text = std::fs::read_to_string(map).map_err(|error| JailError::io("read", map, &error))?;
    Ok(choose_id(&text, wanted))
}

fn choose_id(map: &str, wanted: u32) -> Option<u32> {
    let ranges: Vec<(u32, u32)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let first: u32 = fields.next()?.parse().ok()?;
            let count: u32 = fields.nth(1)?.parse().ok()?;
            Some((first, first.checked_add(count.checked_sub(1)?)?))
        })
        .collect();
    if ranges.iter().any(|(first, last)| (*first..=*last).contains(&wanted)) {
        return Some(wanted);
    }
    ranges.iter().map(|(_, last)| *last).max().filter(|last| *last != 0)
}

fn write_proc(path: &str, text: &str) -> Result<(), JailError> {
    // One write: the kernel takes a map once and whole (user_namespaces(7)).
    let mut file = File::options().write(true).open(path).map_err(|error| map_error(path, &error))?;
    file.write_all(text.as_bytes()).map_err(|error| map_error(path, &error))
}

fn map_error(path: &str, error: &std::io::Error) -> JailError {
    JailError::io("write", path, error).kind(ErrorKind::NamespacesRefused).hint(USER_NAMESPACE_HINT)
}

/// What to do where user namespaces are forbidden.
pub(crate) const USER_NAMESPACE_HINT: &str =
    "this machine restricts user namespaces; \"stockade doctor\" says how to allow them";

/// A user namespace that maps one id on disk to one id outside; nothing runs in it. Its first process is ending when
/// this returns, and left to [`reap_all`]: an exit takes longer than the namespace did.
fn mapping_namespace(uid: (u32, u32), gid: (u32, u32)) -> std::io::Result<OwnedFd> {
    let (mut reader, writer) = std::io::pipe()?;
    // SAFETY: the helper has one thread (it was just executed and starts none); the flags are without CLONE_VM.
    let side = unsafe { sys::fork(libc::CLONE_NEWUSER | libc::SIGCHLD) }?;
    let pid = match side {
        Side::Child => {
            drop(writer);
            // Ends when the parent closes its end, whatever becomes of the parent.
            let ended = reader.read(&mut [0]).is_ok();
            sys::exit_now(i32::from(!ended))
        }
        Side::Parent(pid) => pid,
    };
    let mapped = (|| {
        let write = |name: &str, (disk, outer): (u32, u32)| {
            let mut file = File::options().write(true).open(format!("/proc/{pid}/{name}"))?;
            file.write_all(format!("{disk} {outer} 1\n").as_bytes())
        };
        write("gid_map", gid)?;
        write("uid_map", uid)?;
        File::open(format!("/proc/{pid}/ns/user"))
    })();
    drop(writer);
    mapped.map(OwnedFd::from)
}

/// Waits for the processes that made namespaces.
pub(crate) fn reap_all() {
    while sys::reap(None, 0).is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_never_keeps_id_0_where_another_exists() {
        assert_eq!(choose_id("0 0 4294967295\n", BASE + 1000), Some(BASE + 1000));
        assert_eq!(choose_id("0 1000 1\n1 100000 65536\n", BASE), Some(65536));
        assert_eq!(choose_id("0 1000 1\n", BASE), None);
        assert_eq!(choose_id("", BASE), None);
        assert_eq!(choose_id("garbage\n0 0\n0 0 0\n", BASE), None);
    }
}
