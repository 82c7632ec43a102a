//! The steps of a path, symbolic links followed.
//! It never opens anything, and never allocates: whoever walks says what is a link.

use super::open::PATH_BYTES_MAX;
use rustix::fs::OFlags;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

/// How a step is opened: as itself.
pub(super) const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Links that the kernel follows at most (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// Longest name of one step, its NUL included.
const NAME_BYTES_MAX: usize = 256;

/// What is left of a way.
pub(super) struct Way {
    /// The rest of it stands at the end.
    rest: [u8; PATH_BYTES_MAX],
    begin: usize,
    links: usize,
    absolute: bool,
}

/// One step.
pub(super) struct Step([u8; NAME_BYTES_MAX]);

impl std::ops::Deref for Step {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c".")
    }
}

impl Way {
    /// A path. One that is too long has no steps: nobody gets anywhere by it.
    pub(super) fn new(path: &[u8]) -> Self {
        let mut way = Self { rest: [0; PATH_BYTES_MAX], begin: PATH_BYTES_MAX, links: 0, absolute: false };
        way.put(path);
        way.absolute = path.first() == Some(&b'/');
        way
    }

    /// Where it begins, seen from the directory that a relative path starts from.
    pub(super) const fn start(&self) -> &'static CStr {
        if self.absolute { c"/" } else { c"." }
    }

    /// Puts text before what is left.
    fn put(&mut self, text: &[u8]) -> bool {
        let Some(begin) = self.begin.checked_sub(text.len()) else { return false };
        let Some(place) = self.rest.get_mut(begin..self.begin) else { return false };
        place.copy_from_slice(text);
        self.begin = begin;
        true
    }

    /// The next step, if there is one.
    pub(super) fn next(&mut self) -> Option<Step> {
        let rest = self.rest.get(self.begin..)?;
        let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
        let name = rest.get(slashes..)?.split(|byte| *byte == b'/').next().filter(|name| !name.is_empty())?;
        let mut step = Step([0; NAME_BYTES_MAX]);
        // A longer name is one that nothing has.
        step.0.get_mut(..name.len()).filter(|_| name.len() < NAME_BYTES_MAX)?.copy_from_slice(name);
        self.begin += slashes + name.len();
        Some(step)
    }

    /// Follows a link. `false`: the kernel would not, or cannot be told from one that would not.
    pub(super) fn follow(&mut self, link: &OwnedFd) -> bool {
        self.links += 1;
        let mut target = [MaybeUninit::uninit(); PATH_BYTES_MAX];
        let Ok((target, _)) = rustix::fs::readlinkat_raw(link, c"", &mut target) else { return false };
        self.absolute = target.first() == Some(&b'/');
        self.links <= LINKS_MAX && self.put(b"/") && self.put(target)
    }

    /// Whether the link that was followed leads to the root first.
    pub(super) const fn begins_anew(&self) -> bool {
        self.absolute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(path: &str) -> Vec<String> {
        let mut way = Way::new(path.as_bytes());
        std::iter::from_fn(|| way.next().map(|step| step.to_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn a_path_is_walked_name_by_name() {
        assert_eq!(steps("/proc//self/./fd/"), ["proc", "self", ".", "fd"]);
        assert_eq!(steps("a"), ["a"]);
        assert_eq!(steps(""), [""; 0]);
        assert_eq!(steps("///"), [""; 0]);
        assert_eq!(steps(&"n".repeat(255)).len(), 1);
        assert_eq!(steps(&"n".repeat(256)).len(), 0);
        assert_eq!(steps(&"d/".repeat(3000)).len(), 0);
    }

    #[test]
    fn a_link_is_followed_in_place() {
        let directory = std::env::temp_dir().join(format!("stockade-way-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        std::os::unix::fs::symlink("/there/x", directory.join("link")).unwrap();
        let link = rustix::fs::open(directory.join("link"), STEP, rustix::fs::Mode::empty()).unwrap();
        let mut way = Way::new(b"link/rest");
        assert_eq!(way.start(), c".");
        assert!(way.next().is_some_and(|step| &*step == c"link"));
        assert!(way.follow(&link) && way.begins_anew());
        let mut rest = || way.next().map(|step| step.to_str().unwrap().to_owned());
        assert_eq!([rest(), rest(), rest(), rest()].map(Option::unwrap_or_default), ["there", "x", "rest", ""]);
        assert!((0..39).all(|_| way.follow(&link)), "as many as the kernel follows");
        assert!(!way.follow(&link), "and no more");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
