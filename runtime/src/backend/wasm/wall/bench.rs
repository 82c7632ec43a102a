//! One worker as the supervisor has it: its process, what it has loaded, how many calls it runs.
//! It never starts one: whoever has a place for it does.

use super::line::{About, LOOK_EVERY, Line, Next, is_over_by_now, message};
use super::{Kind, Life, Started};
use crate::backend::process::Outside;
use crate::backend::wasm::cache::Code;
use crate::backend::wasm::wire::{Flaw, FromWorker, ToWorker};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long loading code may take: a large component takes some hundred milliseconds on a busy machine.
const LOAD_LIMIT: Duration = Duration::from_secs(60);

/// A worker.
pub(super) struct Bench {
    pub(super) kind: Kind,
    pub(super) line: Line,
    life: Mutex<Box<dyn Life>>,
    /// Components by their digests. Locked for a moment: who waits for another's loading does not wait for a lock.
    known: Mutex<HashMap<[u8; 32], Known>>,
    /// Something came of loading one.
    came: Condvar,
    /// Numbers that were given to components: none of them twice, whatever came of loading it.
    components: AtomicU32,
    calls: AtomicU64,
    running: AtomicUsize,
    idle_since: Mutex<Instant>,
}

/// What is known of a component.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// A call has it loaded, and tells the others what came of it.
    Loading,
    /// The worker was asked to load it under this number; the call that asked did not wait for the answer.
    Asked(u32),
    /// Its number.
    Loaded(u32),
}

/// A call's turn to load a component; dropped, it is the next one's, unless it is loaded.
struct Turn<'a> {
    bench: &'a Bench,
    digest: [u8; 32],
    /// What comes of it, and what is known when it is over.
    known: Option<Known>,
}

/// What came of loading.
pub(super) enum Load {
    /// Its number.
    Done(u32),
    /// The code is of another version, or broken: it has to be compiled again.
    Stale(String),
    /// The worker is gone; nothing was called.
    Lost(String),
    /// Other calls had it loaded for too long; of the worker that says nothing.
    TooLong,
    /// The caller does not want it any more.
    Cancelled,
}

/// A call's seat: while there is one, the worker is not idle.
pub(super) struct Seat(pub(super) Arc<Bench>);

impl Bench {
    pub(super) fn new(kind: Kind, started: Started) -> Self {
        Self {
            kind,
            line: Line::new(started.channel),
            life: Mutex::new(started.life),
            known: Mutex::default(),
            came: Condvar::new(),
            components: AtomicU32::new(0),
            calls: AtomicU64::new(0),
            running: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
        }
    }

    /// Takes a seat. The list of workers is locked meanwhile, so that nobody else takes this one for idle.
    pub(super) fn sit(self: &Arc<Self>) -> Seat {
        self.running.fetch_add(1, Ordering::SeqCst);
        Seat(Arc::clone(self))
    }

    /// Calls that it runs.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Since when it runs none; `None` while it runs some.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        (self.running() == 0).then_some(since)
    }

    /// The number of a new call.
    pub(super) fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes sure that the worker has a component.
    ///
    /// # Errors
    /// Operator: it is not of our world.
    pub(super) fn load(&self, digest: &[u8; 32], code: &Code, outside: &mut dyn Outside) -> Result<Load> {
        match self.turn(digest, outside, Instant::now() + LOAD_LIMIT) {
            Ok(turn) => self.load_in_turn(turn, code, outside),
            Err(over) => Ok(over),
        }
    }

    /// Waits while another call has the same component loaded; an error is what came of that.
    fn turn(
        &self,
        digest: &[u8; 32],
        outside: &mut dyn Outside,
        until: Instant,
    ) -> std::result::Result<Turn<'_>, Load> {
        loop {
            let mut known = self.known();
            match known.get(digest) {
                Some(Known::Loaded(component)) => return Err(Load::Done(*component)),
                Some(Known::Loading) => {
                    drop(self.came.wait_timeout(known, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner));
                }
                asked @ (None | Some(Known::Asked(_))) => {
                    let asked = asked.copied();
                    known.insert(*digest, Known::Loading);
                    return Ok(Turn { bench: self, digest: *digest, known: asked });
                }
            }
            if is_over_by_now(outside) {
                return Err(Load::Cancelled);
            }
            if self.line.is_lost() {
                return Err(Load::Lost("it ended while another call had its component loaded".to_owned()));
            }
            if Instant::now() >= until {
                return Err(Load::TooLong);
            }
        }
    }

    /// A panic of another thread leaves it whole.
    fn known(&self) -> MutexGuard<'_, HashMap<[u8; 32], Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load_in_turn(&self, mut turn: Turn<'_>, code: &Code, outside: &mut dyn Outside) -> Result<Load> {
        let (component, place) = match turn.known.take() {
            // The worker loads it, or has it: another copy would be nobody's, and its place as well.
            Some(Known::Asked(component)) => (component, self.line.expect_still(About::Component(component))),
            Some(Known::Loading | Known::Loaded(_)) | None => {
                let component = self.components.fetch_add(1, Ordering::Relaxed);
                let place = self.line.expect(About::Component(component));
                if !self.line.say(message(&ToWorker::Load { component }, Some(code.descriptor()?))?) {
                    return Ok(Load::Lost(self.end()));
                }
                (component, place)
            }
        };
        match place.next_if_wanted(outside, Instant::now() + LOAD_LIMIT) {
            Next::Message(FromWorker::Loaded { .. }, _) => {
                turn.known = Some(Known::Loaded(component));
                Ok(Load::Done(component))
            }
            Next::Message(FromWorker::NotLoaded { flaw: Flaw::Code, why, .. }, _) => Ok(Load::Stale(why)),
            Next::Message(FromWorker::NotLoaded { flaw: Flaw::World, why, .. }, _) => {
                Err(Error::operator(format!("the component does not fit what tools are given: {why}"))
                    .hint("build it against the interfaces of tools-wasm/wit and WASI 0.2"))
            }
            Next::Lost(why) => {
                let ended = self.end();
                Ok(Load::Lost(format!("{why}: {ended}")))
            }
            Next::Late => {
                self.line.give_up("it takes too long to load a component");
                Ok(Load::Lost(self.end()))
            }
            Next::Woken => {
                place.leave();
                turn.known = Some(Known::Asked(component));
                Ok(Load::Cancelled)
            }
            Next::Message(_, _) => Err(Error::bug("a worker answers another question")),
        }
    }

    /// Ends its process, and says how that ended.
    pub(super) fn end(&self) -> String {
        self.line.give_up("it was ended");
        self.life.lock().unwrap_or_else(PoisonError::into_inner).end()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut known = self.bench.known();
        match self.known {
            Some(came) => known.insert(self.digest, came),
            None => known.remove(&self.digest),
        };
        drop(known);
        self.bench.came.notify_all();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::process::{Alone, Event};
    use crate::backend::wasm::channel::{self, Inbox, Incoming, Outgoing};
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

    struct Nobody;

    impl Life for Nobody {
        fn end(&mut self) -> String {
            "it never lived".to_owned()
        }
    }

    /// A worker, and the end of its channel where the test answers in its place.
    fn bench() -> (Bench, OwnedFd) {
        let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (channel, theirs) = pair.expect("a socket pair");
        (Bench::new(Kind::Read, Started { channel, life: Box::new(Nobody) }), theirs)
    }

    fn code() -> Code {
        Code::of_test(channel::sealed(c"test", &[b"code"]).expect("there is memory"))
    }

    /// The components that the worker was asked to load since.
    fn asked(theirs: &OwnedFd) -> Vec<u32> {
        let (mut inbox, mut asked) = (Inbox::default(), Vec::new());
        while let Some(incoming) = channel::try_receive::<ToWorker>(theirs, &mut inbox).expect("it is ours") {
            match incoming {
                Incoming::Message(ToWorker::Load { component }, Some(_)) => asked.push(component),
                Incoming::Message(_, _) | Incoming::Closed => panic!("it loads, and nothing else"),
            }
        }
        asked
    }

    /// Whoever does not want the call, from the beginning.
    struct Unwilling(OwnedFd, bool);

    impl Unwilling {
        fn new() -> Self {
            let (read, write) = rustix::pipe::pipe().expect("a pipe");
            rustix::io::write(&write, b"x").expect("there is room");
            Self(read, false)
        }
    }

    impl Outside for Unwilling {
        fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            (!self.1).then(|| self.0.as_fd())
        }

        fn next_event(&mut self) -> Option<Event> {
            (!std::mem::replace(&mut self.1, true)).then_some(Event::Cancelled)
        }
    }

    /// However many calls are cancelled meanwhile, the worker loads a component once.
    #[test]
    fn what_was_asked_to_be_loaded_is_not_asked_again() {
        let ((bench, theirs), code) = (bench(), code());
        for _ in 0..300 {
            let load = bench.load(&[1; 32], &code, &mut Unwilling::new()).expect("it is asked");
            assert!(matches!(load, Load::Cancelled));
        }
        assert_eq!(asked(&theirs), [0]);
        let mut answer = Outgoing::new(&FromWorker::Loaded { component: 0 }, None).expect("a message");
        answer.try_send(&theirs).expect("there is room");
        for _ in 0..2 {
            let load = bench.load(&[1; 32], &code, &mut Alone).expect("it is loaded");
            assert!(matches!(load, Load::Done(0)));
        }
        assert_eq!(asked(&theirs), [] as [u32; 0]);
        // The control: another one is loaded as another.
        let load = bench.load(&[2; 32], &code, &mut Unwilling::new()).expect("it is asked");
        assert!(matches!(load, Load::Cancelled));
        assert_eq!(asked(&theirs), [1]);
    }

    /// What nobody waited for may be that it cannot be loaded: then the next one asks anew.
    #[test]
    fn what_could_not_be_loaded_is_asked_again() {
        let ((bench, theirs), code) = (bench(), code());
        let load = bench.load(&[1; 32], &code, &mut Unwilling::new()).expect("it is asked");
        assert!(matches!(load, Load::Cancelled));
        let flawed = FromWorker::NotLoaded { component: 0, flaw: Flaw::Code, why: "it is old".to_owned() };
        Outgoing::new(&flawed, None).expect("a message").try_send(&theirs).expect("there is room");
        let load = bench.load(&[1; 32], &code, &mut Alone).expect("it is told");
        assert!(matches!(load, Load::Stale(why) if why == "it is old"));
        let load = bench.load(&[1; 32], &code, &mut Unwilling::new()).expect("it is asked");
        assert!(matches!(load, Load::Cancelled));
        assert_eq!(asked(&theirs), [0, 1]);
    }

    #[test]
    fn who_waits_too_long_for_anothers_loading_does_not_take_the_worker_for_lost() {
        let (bench, _theirs) = bench();
        let digest = [1; 32];
        let soon = || Instant::now() + LOOK_EVERY * 2;
        let first = bench.turn(&digest, &mut Alone, soon()).ok().expect("it is the first");
        assert!(matches!(bench.turn(&digest, &mut Alone, soon()), Err(Load::TooLong)));
        assert!(!bench.line.is_lost());
        drop(first);
        assert!(bench.turn(&digest, &mut Alone, soon()).is_ok(), "the control: it is the next one's turn");
        bench.line.give_up("the test says so");
        let _second = bench.turn(&digest, &mut Alone, soon()).ok();
        assert!(matches!(bench.turn(&digest, &mut Alone, soon()), Err(Load::Lost(_))));
    }
}
