//! The limit of disk while a tool runs: a call whose files take more is not wanted any more, and its end says why.
//! It never ends a call itself: the wall does, when it hears that nobody wants it.

use crate::backend::process::{Event, Outside, ProcessWall};
use crate::backend::wasm::{Files, Use, What};
use crate::error::{Error, Result};
use rustix::event::epoll;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::cell::Cell;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use stockade_jail::watch::{LayerLook, LimitHit, LimitKind};
use stockade_policy::{Limit, Limits};

/// How often somebody asks. The look itself has a pace of its own: a share of the time.
const ASK_EVERY_NS: i64 = 100_000_000;
/// One MiB, bytes.
const MIB: u64 = 1024 * 1024;

/// Bytes that a call wrote, as its uses say.
#[derive(Debug, Default)]
pub(super) struct Written(Cell<u64>);

impl Written {
    /// Counts some uses.
    pub(super) fn add(&self, uses: &[Use]) {
        let wrote = uses.iter().filter(|used| used.what == What::Wrote && used.errno.is_none());
        let bytes = wrote.fold(self.0.get(), |sum, used| sum.saturating_add(used.bytes_written));
        self.0.set(bytes);
    }
}

/// What a call takes on disk, where that has a limit.
enum Size<'a> {
    /// The session's layer is what it takes.
    Layer(&'a ProcessWall, LayerLook),
    /// There is no layer apart from what was there before: what the call itself wrote is what can be known.
    Written(&'a Written, u64),
}

impl Size<'_> {
    fn exceeded(&mut self) -> Option<LimitHit> {
        match self {
            Self::Layer(wall, look) => wall.exceeded(look),
            Self::Written(..) => self.exceeded_at_last(),
        }
    }

    fn exceeded_at_last(&self) -> Option<LimitHit> {
        match self {
            Self::Layer(_, look) => look.exceeded_at_last(),
            Self::Written(written, limit_bytes) => {
                let bytes = written.0.get();
                (bytes > *limit_bytes).then(|| LimitHit::new(LimitKind::Disk, *limit_bytes, bytes))
            }
        }
    }
}

/// Whoever is outside of a call, and the limit of its disk.
pub(super) struct Guard<'a> {
    outside: &'a mut dyn Outside,
    /// What is looked at, and what wakes whoever waits for the call: to look, or because of the outside.
    looks: Option<(Size<'a>, OwnedFd, OwnedFd)>,
    hit: Option<LimitHit>,
    /// Whether it was said that the call is not wanted: it is said once.
    told: bool,
}

impl<'a> Guard<'a> {
    /// Of a call that gets these files, within the limits of its permit.
    ///
    /// # Errors
    /// Host: there is no descriptor left.
    pub(super) fn new(
        outside: &'a mut dyn Outside,
        files: Files,
        limits: &Limits,
        wall: &'a ProcessWall,
        written: &'a Written,
    ) -> Result<Self> {
        let limit_bytes = limits.get(Limit::DiskMib).map(|mib| mib.saturating_mul(MIB));
        let size = match (files, limit_bytes) {
            (Files::None | Files::Read, _) | (_, None) => None,
            (Files::Write, Some(limit_bytes)) => Some(match wall.layer_look() {
                Some(look) => Size::Layer(wall, look),
                None => Size::Written(written, limit_bytes),
            }),
        };
        Self::of(outside, size)
    }

    fn of(outside: &'a mut dyn Outside, size: Option<Size<'a>>) -> Result<Self> {
        let failed = |errno: rustix::io::Errno| {
            Error::host(format!("watch what a tool takes on disk: {}", crate::error::plain(&errno.into())))
        };
        let looks = match size {
            None => None,
            Some(size) => {
                let (timer, both) = wake(outside.descriptor()).map_err(failed)?;
                Some((size, timer, both))
            }
        };
        Ok(Self { outside, looks, hit: None, told: false })
    }

    /// The limit that the call ran into: seen while it ran, or else at its end.
    pub(super) fn end(self) -> Option<LimitHit> {
        self.hit.or_else(|| self.looks.and_then(|(size, ..)| size.exceeded_at_last()))
    }
}

/// A timer, and what is readable when that is or `outside` is.
fn wake(outside: Option<BorrowedFd<'_>>) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let timer =
        rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    let every = Timespec { tv_sec: 0, tv_nsec: ASK_EVERY_NS };
    let times = Itimerspec { it_interval: every, it_value: every };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    let both = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for one in [Some(timer.as_fd()), outside].into_iter().flatten() {
        epoll::add(&both, one, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    }
    Ok((timer, both))
}

impl Outside for Guard<'_> {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.looks {
            None => self.outside.descriptor(),
            // Who said that the call is not wanted has no more to say, and what woke us stays readable.
            Some((_, _, both)) => (!self.told).then(|| both.as_fd()),
        }
    }

    fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.outside.next_event() {
            self.told |= matches!(event, Event::Signal(_) | Event::Cancelled);
            return Some(event);
        }
        let (size, timer, _) = self.looks.as_mut().filter(|_| !self.told)?;
        let mut times = [0; 8];
        // Nothing is there when it was the outside that woke us, and has nothing to say.
        if rustix::io::read(timer, &mut times).is_err() {
            return None;
        }
        self.hit = size.exceeded();
        self.told = self.hit.is_some();
        self.hit.map(|_| Event::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::process::Alone;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::io::{PipeReader, PipeWriter, Write as _};
    use std::time::{Duration, Instant};

    /// Says that a call is not wanted when its pipe is readable.
    struct Client(PipeReader);

    impl Outside for Client {
        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            Some(self.0.as_fd())
        }

        fn next_event(&mut self) -> Option<Event> {
            let mut said = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            (poll(&mut said, PollTimeout::ZERO) == Ok(1)).then_some(Event::Cancelled)
        }
    }

    fn client() -> (Client, PipeWriter) {
        let (read, write) = std::io::pipe().expect("a pipe");
        (Client(read), write)
    }

    /// The first event, as whoever waits for a call finds it.
    fn first(guard: &mut Guard<'_>) -> Option<Event> {
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            let mut watched: Vec<PollFd<'_>> =
                guard.descriptor().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into_iter().collect();
            let woken = poll(&mut watched, PollTimeout::from(500_u16)).expect("it can be waited for");
            if let Some(event) = guard.next_event().filter(|_| woken > 0) {
                return Some(event);
            }
        }
        None
    }

    fn wrote(bytes_written: u64) -> Use {
        Use { bytes_written, ..Use::new(What::Wrote, "f") }
    }

    #[test]
    fn what_takes_more_than_its_limit_is_not_wanted_any_more() {
        let written = Written::default();
        written.add(&[wrote(600), Use { errno: Some(27), ..wrote(9000) }]);
        let mut alone = Alone;
        let mut guard = Guard::of(&mut alone, Some(Size::Written(&written, 1000))).expect("it can be watched");
        assert_eq!(first(&mut guard), None, "600 bytes of 1000");
        written.add(&[wrote(600)]);
        assert_eq!(first(&mut guard), Some(Event::Cancelled));
        assert!(guard.descriptor().is_none() && guard.next_event().is_none(), "it is said once");
        assert_eq!(guard.end(), Some(LimitHit::new(LimitKind::Disk, 1000, 1200)));
    }

    #[test]
    fn a_call_that_was_quick_is_looked_at_when_it_ends() {
        let written = Written::default();
        let mut alone = Alone;
        let guard = Guard::of(&mut alone, Some(Size::Written(&written, 1000))).expect("it can be watched");
        written.add(&[wrote(1001)]);
        assert_eq!(guard.end(), Some(LimitHit::new(LimitKind::Disk, 1000, 1001)));
    }

    #[test]
    fn who_is_outside_is_still_heard() {
        for size in [None, Some(1000)] {
            let written = Written::default();
            let (mut client, mut write) = client();
            let size = size.map(|limit| Size::Written(&written, limit));
            let mut guard = Guard::of(&mut client, size).expect("it can be watched");
            write.write_all(b".").expect("it has room");
            assert_eq!(first(&mut guard), Some(Event::Cancelled));
            assert_eq!(guard.end(), None);
        }
    }
}
