//! A directory of the host at another place of the host, its owner shown as a guest: for engines, which are given paths and
//! no descriptors, where root starts a container.
//! It never outlives its owner's interest: dropped, the place is empty again. Who mounted it meanwhile keeps what they have.

use crate::channel::{Channel, protocol};
use crate::error::{Fault, JailError};
use crate::idmap::{self, Ids, Mappings, Starter};
use crate::init::take_control;
use crate::mount::{self, Depth};
use crate::sandbox::wait_readable;
use crate::spawner::Helper;
use crate::sys;
use crate::wire::Message;
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use serde::{Deserialize, Serialize};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `argv[0]` of the helper: what it does needs a process with one thread.
pub(crate) const NAME: &str = "stockade-stage";
/// How long it may take: it mounts one tree.
const LIMIT: Duration = Duration::from_secs(30);

/// A directory that is shown at another place.
#[derive(Debug)]
pub struct Staged {
    place: PathBuf,
}

/// What is to be shown.
#[derive(Serialize, Deserialize)]
struct Wanted {
    #[serde(with = "crate::plan::path_text")]
    source: PathBuf,
    #[serde(with = "crate::plan::path_text")]
    place: PathBuf,
    guest: (u32, u32),
}

impl Staged {
    /// Shows `source` at `place`, an empty directory: files of its owner as those of a guest with these ids inside.
    ///
    /// # Errors
    /// Who asks is not root; or the kernel's answer ([`crate::ErrorKind::IdmapRefused`] where that file system cannot).
    pub fn show(source: &Path, place: &Path, guest: (u32, u32)) -> Result<Self, JailError> {
        let wanted = Wanted { source: source.to_owned(), place: place.to_owned(), guest };
        let json = serde_json::to_vec(&wanted).expect("plain data serialises to memory");
        let (control, mut helper) = Helper::begin_for(NAME)?.wait()?;
        control.send(&Message::Setup(json), &[])?;
        let answered = wait_readable(control.as_fd(), Some(Instant::now() + LIMIT)).and_then(|()| control.receive());
        drop(control);
        helper.wait().map_err(|error| JailError::io("wait for", "the helper", &error))?;
        match answered?.map(|received| received.message) {
            Some(Message::Made) => Ok(Self { place: place.to_owned() }),
            Some(Message::Failed(error)) => Err(error),
            Some(_) | None => Err(protocol("another answer than that a directory is shown")),
        }
    }
}

/// Takes away whatever is mounted at the places in this directory: what a root that was killed left there. Before it is
/// done, removing the directory would remove what is shown.
///
/// # Errors
/// The directory cannot be read, or the kernel refuses to unmount.
pub fn detach_all(directory: &Path) -> Result<(), JailError> {
    let named = || directory.display().to_string();
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| JailError::io("list", named(), &error))?,
    };
    for entry in entries {
        let place = entry.map_err(|error| JailError::io("list", named(), &error))?.path();
        let failed = |errno: Errno| JailError::os("unmount", place.display().to_string(), errno.raw_os_error());
        while is_mounted(&place).map_err(failed)? {
            rustix::mount::unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).map_err(failed)?;
        }
    }
    Ok(())
}

/// Whether something lies on this very place (statx(2)).
fn is_mounted(place: &Path) -> Result<bool, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(rustix::fs::CWD, place, flags, StatxFlags::empty())?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

impl Drop for Staged {
    fn drop(&mut self) {
        match rustix::mount::unmount(&self.place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Unmounted by somebody else: then it is as it should be.
            Ok(()) | Err(_) => {}
        }
    }
}

/// The helper's life; its exit code.
pub(crate) fn run() -> i32 {
    let Ok(control) = take_control(c"stockade-stage") else { return 1 };
    match carry_out(&control).and_then(|()| control.send(&Message::Made, &[])) {
        Ok(()) => 0,
        Err(error) => i32::from(control.send(&Message::Failed(error), &[]).is_err()) + 1,
    }
}

fn carry_out(control: &Channel) -> Result<(), JailError> {
    let received = control.receive_any_length()?.ok_or_else(|| protocol("a channel closed before the request"))?;
    let Message::Setup(json) = received.message else { return Err(protocol("a message before the request")) };
    let wanted: Wanted = serde_json::from_slice(&json).map_err(|_| protocol("a request that does not parse"))?;
    let ids = Ids::choose(wanted.guest.0, wanted.guest.1)?;
    if ids.starter != Starter::Root {
        return Err(JailError::host("show as somebody else's", wanted.source.display().to_string()).fault(Fault::Bug));
    }
    let tree = mount::clone_host_path(&wanted.source, Depth::Recursive)?;
    let mapped = ids.map_owner(&tree, &mut Mappings::default(), &wanted.source);
    idmap::reap_all();
    mapped?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed =
        |errno: Errno| JailError::os("show a directory at", wanted.place.display().to_string(), errno.raw_os_error());
    let place = rustix::fs::open(&wanted.place, flags, Mode::empty()).map_err(failed)?;
    mount::attach(tree.fd.as_fd(), place.as_fd()).map_err(failed)
}

/// For whoever is started by this name; else it returns.
pub(crate) fn run_if_asked(name: &std::ffi::OsStr) {
    if name == NAME {
        sys::exit_now(run());
    }
}
