//! Overlays, made detached: of a directory and a layer, and of two directories of which one lies over the other.
//! It never attaches what it makes, and never opens a path of the host.

use crate::kernel::Kernel;
use crate::mount::Pending;
use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Two directories, read-only by having no layer: the first lies over the second.
pub(super) fn screen(kernel: Kernel, above: &OwnedFd, below: &OwnedFd, flags: u64) -> Result<Pending, Errno> {
    let lowers = format!("/proc/self/fd/{}:/proc/self/fd/{}", above.as_raw_fd(), below.as_raw_fd());
    let options = [("lowerdir", lowers.as_str()), ("source", "screen"), ("userxattr", ""), ("xino", "off")];
    let options = match kernel {
        Kernel::Host => &options[..],
        // It takes no other.
        Kernel::Gvisor => &options[..1],
    };
    Pending::new_file_system(kernel, "overlay", options, flags)
}

/// A new overlay of these two, detached. `index=off` and `metacopy=off`: the layer has to mean the same without the
/// lower directory's inode numbers and after a move. The paths name our descriptors, so that no host path shows in the
/// guest's `/proc/self/mountinfo`.
pub(super) fn overlay(kernel: Kernel, lower: &OwnedFd, layer: &OwnedFd, flags: u64) -> Result<Pending, Errno> {
    if kernel == Kernel::Gvisor {
        // Its overlays write down in another way what is gone, and not onto a directory of the host at all.
        return Err(Errno::OPNOTSUPP);
    }
    let open = |name: &str| {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
        rustix::fs::openat(layer, name, flags | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
    };
    let (upper, work) = (open("upper")?, open("work")?);
    let by_descriptor = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let options = [
        ("source", "workspace".to_owned()),
        ("lowerdir", by_descriptor(lower)),
        ("upperdir", by_descriptor(&upper)),
        ("workdir", by_descriptor(&work)),
        ("userxattr", String::new()),
        ("index", "off".to_owned()),
        ("metacopy", "off".to_owned()),
        ("redirect_dir", "nofollow".to_owned()),
        ("xino", "off".to_owned()),
    ];
    let options: Vec<_> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Pending::new_file_system(kernel, "overlay", &options, flags)
}
