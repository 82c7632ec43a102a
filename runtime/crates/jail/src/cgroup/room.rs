//! Letting processes of ours into a group, and room for them in its limit, which is the guests'.
//! It never takes away what a guest holds: a lower limit ends nobody, it only refuses more.

use super::files::{self, join};
use super::{Group, Maker, Version};
use crate::error::JailError;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::PoisonError;

impl Group {
    /// Lets a helper with one thread in: moves it, or hands out the files by which it has to [`enter`] by itself.
    ///
    /// The second is for version 1. Whoever moves *another* process takes a lock that every fork and exit on the machine
    /// passes, which waits for an RCU grace period: 2 to 10 ms. A thread that moves itself needs none of it, since Linux
    /// 5.17; version 2 takes the lock all the same, as it moves whole processes only.
    pub(crate) fn admit(&self, helper: u32) -> Result<Vec<OwnedFd>, JailError> {
        match (self.maker, self.version) {
            // A worker stays outside of a container's group, bounded by its own limits: the engine's is not ours to divide.
            (Maker::Engine, _) => Ok(Vec::new()),
            (Maker::Ours, Version::Two) => self.add(helper).map(|()| Vec::new()),
            (Maker::Ours, Version::One) => self.directories().map(open_tasks).collect(),
        }
    }

    /// Lets so many more processes and threads in.
    ///
    /// # Errors
    /// The limit could not be changed, and is what it was.
    pub(crate) fn make_room(&self, count: u64) -> Result<(), JailError> {
        self.change(|limit| limit.saturating_add(count))
    }

    /// Takes back what [`Group::make_room`] gave, once those processes ended.
    pub(crate) fn give_room_back(&self, count: u64) {
        match self.change(|limit| limit.saturating_sub(count)) {
            // The group is being removed, or was: then it lets nobody in at all.
            Ok(()) | Err(_) => {}
        }
    }

    fn change(&self, new: impl FnOnce(u64) -> u64) -> Result<(), JailError> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(directory), Some(limit)) = (&self.pids, *room) else { return Ok(()) };
        let limit = new(limit);
        files::set(directory, "pids.max", limit).map_err(|why| JailError::host("let a worker into the group", why))?;
        *room = Some(limit);
        Ok(())
    }
}

fn open_tasks(directory: &Path) -> Result<OwnedFd, JailError> {
    let path = join(directory, "tasks");
    let file = File::options().write(true).open(&path);
    file.map(OwnedFd::from).map_err(|error| JailError::io("open", path.display().to_string(), &error))
}

/// Moves the calling thread, which has to be the only one of its process, into the group of this `tasks` file.
pub(crate) fn enter(tasks: OwnedFd) -> Result<(), JailError> {
    File::from(tasks).write_all(b"0").map_err(|error| JailError::io("join", "a control group", &error))
}
