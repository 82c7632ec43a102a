//! The workers of one session: started when a call needs one, again when one has died, and ended when nobody calls.
//! It never runs anything in this process.

mod bench;
mod line;

use crate::backend::process::Outside;
use crate::backend::wasm::cache::{CODE_BYTES_MAX, Cache};
use crate::backend::wasm::call::{CallGrant, Carries, End, Files, Printed, ToolIo, ToolRan, ToolUsage};
use crate::backend::wasm::channel;
use crate::backend::wasm::command::{Entry, Handed};
use crate::backend::wasm::component::Component;
use crate::backend::wasm::wire::{
    ARGUMENTS_BYTES_MAX, CallRequest, Ended, Ending, FromWorker, Limited, ToWorker, WireGrant, cut,
};
use crate::error::{Error, Result};
use crate::journal::Logged;
use bench::{Bench, Load, Seat};
use line::{About, Line, Next, Place, is_over, message};
use std::fmt;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use stockade_audit::record::CallId;
pub use stockade_jail::worker::Kind;
use stockade_jail::worker::Worker;
use stockade_policy::Action;

/// A worker that runs nothing for so long is ended.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// How long a worker may take to notice that a call is over its time. It looks each millisecond, unless the machine is
/// overloaded or somebody has taken it over.
const GRACE: Duration = Duration::from_secs(10);
/// How long compiling may take; the worker's own limit of processor time is below it.
const COMPILE_LIMIT: Duration = Duration::from_secs(180);
/// How long a killed worker may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How often a call is tried that did not begin, because its worker was gone.
const TRIES: usize = 3;

/// A worker that was started.
pub struct Started {
    /// Our end of its channel (`SOCK_SEQPACKET`).
    pub channel: OwnedFd,
    /// The process.
    pub life: Box<dyn Life>,
}

/// The process of a worker. Dropped, it is killed and reaped.
pub trait Life: Send {
    /// Kills it if it still runs, waits for its end, and says in words how it ended.
    fn end(&mut self) -> String;
}

impl Started {
    /// A worker of the jail.
    ///
    /// # Errors
    /// Bug: somebody took its channel before.
    pub fn confined(mut worker: Worker) -> Result<Self> {
        let channel = worker.take_channel().ok_or_else(|| Error::bug("a worker came without its channel"))?;
        Ok(Self { channel, life: Box::new(worker) })
    }
}

impl Life for Worker {
    fn end(&mut self) -> String {
        self.kill();
        match self.wait(END_LIMIT) {
            Ok(Some(end)) => end.to_string(),
            Ok(None) => "it was killed, and has not ended yet".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

/// Starts workers of one session.
pub type Start = Box<dyn Fn(Kind) -> Result<Started> + Send + Sync>;

/// The workers of one session.
pub struct ToolWall {
    start: Start,
    cache: Cache,
    workers: Arc<Workers>,
    reaper: Mutex<Option<Reaper>>,
    per_kind_max: usize,
}

/// Those that run.
#[derive(Default)]
struct Workers(Mutex<Vec<Arc<Bench>>>);

/// The thread that ends idle workers; it ends when `stop` is dropped.
struct Reaper {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl ToolWall {
    /// A wall without workers.
    pub fn new(start: Start, cache: Cache) -> Self {
        let per_kind_max = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { start, cache, workers: Arc::default(), reaper: Mutex::default(), per_kind_max }
    }

    /// Runs a logged call to its end. The permit is used up: what comes back is the call's name and how it went.
    ///
    /// # Errors
    /// Bug: the call is not one of a tool. Operator: the component does not compile. Host: no worker could be started, or
    /// what the tool did could not be told.
    pub fn run(
        &self,
        logged: Logged,
        component: &Component,
        grant: &CallGrant,
        io: ToolIo<'_>,
    ) -> Result<(CallId, ToolRan)> {
        let Action::Tool { args, .. } = logged.call().action() else {
            return Err(Error::bug("a call that is not one of a tool reached the WASI wall"));
        };
        let arguments = stockade_policy::arguments_json(args);
        let ran = self.run_arguments(arguments, component, grant, io)?;
        Ok((logged.into_id(), ran))
    }

    /// The same for a call that is in no log: for tests and benches, which measure a worker alone.
    ///
    /// # Errors
    /// As [`ToolWall::run`].
    pub fn run_arguments(
        &self,
        arguments: String,
        component: &Component,
        grant: &CallGrant,
        mut io: ToolIo<'_>,
    ) -> Result<ToolRan> {
        if arguments.len() > ARGUMENTS_BYTES_MAX {
            return Err(Error::guest(format!("the arguments have {} bytes", arguments.len()))
                .hint(format!("a tool takes at most {ARGUMENTS_BYTES_MAX}; put them into a file")));
        }
        if component.manifest().entry == Entry::Command {
            Handed::parse(&arguments, component.manifest(), grant)?;
        }
        let kind = if grant.files == Files::Write { Kind::Write } else { Kind::Read };
        let (asked, mut why) = (Instant::now(), String::new());
        for _ in 0..TRIES {
            let Some(code) = self.cache.code(component, &self.start, io.outside)? else { return Ok(unbegun(asked)) };
            let seat = self.bench(kind)?;
            let bench = &seat.0;
            let number = match bench.load(component.digest(), &code, io.outside)? {
                Load::Done(number) => number,
                Load::Cancelled => return Ok(unbegun(asked)),
                Load::Stale(stale) => {
                    self.cache.forget(component)?;
                    why = stale;
                    continue;
                }
                Load::Lost(lost) => {
                    self.workers.remove(bench);
                    why = lost;
                    continue;
                }
                Load::TooLong => {
                    why = "other calls had its component loaded for too long".to_owned();
                    continue;
                }
            };
            let call = bench.next_call();
            let place = bench.line.expect(About::Call(call));
            let grant_ = WireGrant::new(grant);
            let request = CallRequest { call, component: number, grant: grant_, arguments: arguments.clone() };
            let began = Instant::now();
            if !bench.line.say(message(&ToWorker::Call(Box::new(request)), None)?) {
                why = bench.end();
                self.workers.remove(bench);
                continue;
            }
            let ran = Attended { bench, place, call, grant, began, failed: None }.attend_to_its_end(&mut io);
            if bench.line.is_lost() {
                self.workers.remove(bench);
            }
            return ran;
        }
        Err(Error::host(format!("no worker runs the tool \"{}\": {why}", component.manifest().name))
            .hint("`stockade doctor` says what this machine can do"))
    }

    /// Compiles a component, and keeps its code.
    ///
    /// # Errors
    /// Operator: it does not compile. Host: no worker could be started.
    pub fn compile(&self, component: &Component) -> Result<()> {
        self.cache.renew(component, &self.start)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.lock().len()
    }

    /// A seat at a worker of this kind: one that is idle, else a new one, else the one that runs the fewest calls.
    fn bench(&self, kind: Kind) -> Result<Seat> {
        let mut workers = self.workers.lock();
        let of_kind = || workers.iter().filter(|bench| bench.kind == kind && !bench.line.is_lost());
        let best = of_kind().min_by_key(|bench| bench.running()).map(Arc::clone);
        if let Some(best) = best
            && (best.running() == 0 || of_kind().count() >= self.per_kind_max)
        {
            return Ok(best.sit());
        }
        let bench = Arc::new(Bench::new(kind, (self.start)(kind)?));
        let seat = bench.sit();
        workers.push(bench);
        drop(workers);
        self.watch_for_idle()?;
        Ok(seat)
    }

    fn watch_for_idle(&self) -> Result<()> {
        let mut reaper = self.reaper.lock().unwrap_or_else(PoisonError::into_inner);
        if reaper.is_none() {
            *reaper = Some(Reaper::start(Arc::clone(&self.workers))?);
        }
        Ok(())
    }
}

impl Drop for ToolWall {
    fn drop(&mut self) {
        if let Some(Reaper { stop, thread }) = self.reaper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the thread that ends idle workers panicked");
            }
        }
        for bench in self.workers.lock().drain(..) {
            bench.end();
        }
    }
}

impl fmt::Debug for ToolWall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolWall").field("cache", &self.cache).field("workers", &self.workers()).finish_non_exhaustive()
    }
}

impl Workers {
    /// A panic of another thread leaves the list whole.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Bench>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, bench: &Arc<Bench>) {
        self.lock().retain(|known| !Arc::ptr_eq(known, bench));
    }

    /// Takes out those that have been idle for too long.
    fn take_idle(&self, now: Instant) -> Vec<Arc<Bench>> {
        // Locked: nobody gets one of them while it is looked at, and whoever got one before sits until the call has ended
        // and knows it a moment longer, which is why the list must be the only one that knows it.
        let mut workers = self.lock();
        let idle = |bench: &mut Arc<Bench>| {
            let since = bench.idle_since();
            Arc::strong_count(bench) == 1 && since.is_some_and(|since| now.duration_since(since) >= IDLE_LIMIT)
        };
        workers.extract_if(.., idle).collect()
    }
}

impl Reaper {
    fn start(workers: Arc<Workers>) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let reap = move || {
            while stopped.recv_timeout(IDLE_LIMIT / 4) == Err(mpsc::RecvTimeoutError::Timeout) {
                for bench in workers.take_idle(Instant::now()) {
                    bench.end();
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("idle-workers".to_owned())
            .stack_size(64 * 1024)
            .spawn(reap)
            .map_err(|e| Error::host(format!("start what ends idle workers: {}", crate::error::plain(&e))))?;
        Ok(Self { stop, thread })
    }
}

/// A call that runs, and the thread that attends to it.
struct Attended<'a> {
    bench: &'a Bench,
    place: Place<'a>,
    call: u64,
    grant: &'a CallGrant,
    began: Instant,
    /// What somebody who should hear of it could not do: the call is cancelled, and this is its result.
    failed: Option<Error>,
}

impl Attended<'_> {
    fn attend_to_its_end(mut self, io: &mut ToolIo<'_>) -> Result<ToolRan> {
        let until = self.began.checked_add(self.grant.limits.wall.saturating_add(GRACE));
        loop {
            match self.place.next(io.outside.descriptor(), until) {
                Next::Message(FromWorker::Used { uses, .. }, _) => {
                    let told = (io.used)(uses);
                    self.keep(told);
                }
                Next::Message(FromWorker::Progress { progress, .. }, _) => (io.progress)(progress),
                Next::Message(FromWorker::Connect { request, carries, .. }, _) => self.connect(request, carries, io)?,
                Next::Message(FromWorker::Ended { ended, .. }, _) => return self.ended(*ended, io),
                Next::Message(_, _) => return Err(Error::bug("a worker answers another question")),
                Next::Woken if is_over(io.outside) => self.cancel(),
                Next::Woken => {}
                Next::Late => {
                    // It does not answer: nothing of it is left to be asked.
                    self.bench.line.give_up("it did not end a call in time");
                    self.bench.end();
                    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                    let hit = Limited::Wall.hit(ms(self.grant.limits.wall), ms(self.began.elapsed()));
                    return self.without_account(End::Limit(hit));
                }
                Next::Lost(why) => {
                    let ended = self.bench.end();
                    return self.without_account(End::Died { why: format!("{why}: {ended}") });
                }
            }
        }
    }

    /// The first thing that went wrong is kept, and the call is not wanted any more.
    fn keep(&mut self, told: Result<()>) {
        if let Err(error) = told
            && self.failed.is_none()
        {
            self.failed = Some(error);
            self.cancel();
        }
    }

    fn cancel(&self) {
        if let Ok(cancel) = message(&ToWorker::Cancel { call: self.call }, None) {
            // Where nobody listens, the wait for the end says so.
            self.bench.line.say(cancel);
        }
    }

    /// A stream for a request or a socket. What a worker says is not believed: a call without the grant gets none.
    fn connect(&self, request: u32, carries: Carries, io: &mut ToolIo<'_>) -> Result<()> {
        let call = self.call;
        let (granted, what) = match carries {
            Carries::Requests => (self.grant.network, "requests"),
            Carries::Socket => (self.grant.sockets, "sockets"),
        };
        let stream = if granted && self.failed.is_none() {
            (io.connect)(carries)
        } else {
            Err(Error::guest(format!("{what} are not granted to this call")))
        };
        let answer = match stream {
            Ok(stream) => message(&ToWorker::Stream { call, request }, Some(stream))?,
            Err(error) => {
                let why: Vec<String> = error.reports.into_iter().map(|report| report.what).collect();
                message(&ToWorker::NoStream { call, request, why: cut(why.join("; ")) }, None)?
            }
        };
        self.bench.line.say(answer);
        Ok(())
    }

    fn ended(mut self, ended: Ended, io: &mut ToolIo<'_>) -> Result<ToolRan> {
        let Ended { ending, uses, usage, printed } = ended;
        if !uses.is_empty() {
            let told = (io.used)(uses);
            self.keep(told);
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let end = match ending {
            Ending::Answered(reply) => End::Answered(reply),
            Ending::Refused(failure) => End::Refused(failure),
            Ending::Trapped { why } => End::Trapped { why: cut(why) },
            Ending::Limit { limit, value, observed } => End::Limit(limit.hit(value, observed)),
            Ending::Cancelled => End::Cancelled,
        };
        Ok(ToolRan { end, usage, printed, uses_lost: 0 })
    }

    /// The end of a call whose worker can give no account of it.
    fn without_account(self, end: End) -> Result<ToolRan> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let wall_us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let usage = ToolUsage { wall_us, ..ToolUsage::default() };
        Ok(ToolRan { end, usage, printed: Printed::default(), uses_lost: 1 })
    }
}

/// A call that was cancelled before it began.
fn unbegun(asked: Instant) -> ToolRan {
    let wall_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
    let usage = ToolUsage { wall_us, ..ToolUsage::default() };
    ToolRan { end: End::Cancelled, usage, printed: Printed::default(), uses_lost: 0 }
}

/// Has a worker that has nothing compile a component. `None`: its caller does not want it any more.
pub(super) fn compile(component: &Component, started: Started, outside: &mut dyn Outside) -> Result<Option<Vec<u8>>> {
    let Started { channel, mut life } = started;
    let line = Line::new(channel);
    let place = line.expect(About::Code);
    let bytes = channel::sealed(c"stockade-component", &[component.bytes()])?;
    let name = &component.manifest().name;
    if !line.say(message(&ToWorker::Compile, Some(bytes))?) {
        return Err(Error::host(format!("the worker that compiles \"{name}\" ended: {}", life.end())));
    }
    let next = place.next_if_wanted(outside, Instant::now() + COMPILE_LIMIT);
    let how = life.end();
    match next {
        Next::Message(FromWorker::Compiled, Some(code)) => channel::contents(code, CODE_BYTES_MAX).map(Some),
        Next::Woken => Ok(None),
        Next::Message(FromWorker::NotCompiled { why }, _) => {
            Err(Error::operator(format!("component \"{name}\" does not compile: {}", cut(why)))
                .hint("it is malformed, or uses a proposal that tools are not given"))
        }
        Next::Message(_, _) => Err(Error::bug("a worker that compiles answers another question")),
        Next::Late => Err(Error::operator(format!("component \"{name}\" takes too long to compile"))
            .hint("make it smaller, or leave it out")),
        Next::Lost(why) => {
            Err(Error::operator(format!("compiling component \"{name}\" broke its compiler: {why}: {how}"))
                .hint("it took too much memory or time, or is made to break compilers"))
        }
    }
}
