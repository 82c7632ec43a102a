//! One call: a fresh instance, one function, and an end, whatever the guest does.
//! It never lets a guest keep the thread: each tick takes it back, and looks at the clock and at the processor time.

use crate::backend::wasm::call::{Failure, Printed, Reply, ToolUsage};
use crate::backend::wasm::command;
use crate::backend::wasm::wire::{ARGUMENTS_BYTES_MAX, BODY_BYTES_MAX, CallRequest, Ended, Ending, Limited, cut};
use crate::backend::wasm::worker::engine::{Ticker, words};
use crate::backend::wasm::worker::guest::{Guest, NotGiven};
use crate::backend::wasm::worker::http::{Granted, Requests, Streams};
use crate::backend::wasm::worker::ledger::Ledger;
use crate::backend::wasm::worker::outgoing::Out;
use crate::backend::wasm::worker::ready::{Like, Place, Ready, Room};
use crate::backend::wasm::worker::resolve::Tree;
use crate::backend::wasm::worker::sockets::Sockets;
use rustix::time::{ClockId, clock_gettime};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wasmtime::component::{Component, ComponentExportIndex, ComponentType, Instance, InstancePre, Lift};
use wasmtime::{Engine, Store, Trap};
use wasmtime_wasi::I32Exit;

/// Bytes that a guest can hand over in one call of a host function, and as its answer: three times what it can get as its
/// arguments, so that whatever it is asked it can say again, and no more than a message takes.
const HANDED_BYTES_MAX: usize = 48 << 20;
const _: () = assert!(ARGUMENTS_BYTES_MAX * 3 <= HANDED_BYTES_MAX && HANDED_BYTES_MAX < BODY_BYTES_MAX);
/// Bytes that an image counts for beside its own: what it takes in the processes that it goes through.
const IMAGE_BYTES: usize = 128;

/// A component that can be called.
pub(super) struct Loaded {
    pub(super) instance: InstancePre<Guest>,
    pub(super) entrance: Entrance,
    /// For a component that has something to prepare.
    pub(super) place: Option<Arc<Place>>,
}

/// The function by which a component is entered.
pub(super) enum Entrance {
    Call(ComponentExportIndex),
    Command(ComponentExportIndex),
}

impl Entrance {
    /// Of a component that has one.
    pub(super) fn of(component: &Component) -> Option<Self> {
        if let Some(call) = component.get_export_index(None, "call") {
            return Some(Self::Call(call));
        }
        let kind = component.component_type();
        let (interface, _) = kind.exports(component.engine()).find(|(name, _)| name.starts_with(command::EXPORT))?;
        let interface = component.get_export_index(None, interface)?;
        component.get_export_index(Some(&interface), command::FUNCTION).map(Self::Command)
    }
}

/// What every call of a worker needs.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) ticker: Ticker,
    pub(super) tree: Arc<Tree>,
    /// How long the next message is looked for.
    pub(super) look_for: Duration,
    pub(super) out: Out,
    /// Room for instances that wait for their calls.
    pub(super) room: Room,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
struct WitImage {
    #[component(name = "media-type")]
    media_type: String,
    bytes: Vec<u8>,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
struct WitReply {
    text: String,
    structured: Option<String>,
    images: Vec<WitImage>,
}

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
enum WitFailure {
    #[component(name = "invalid-arguments")]
    InvalidArguments(String),
    #[component(name = "refused")]
    Refused(String),
}

type Answer = Result<WitReply, WitFailure>;

/// How a guest ended that came to its end.
enum Done {
    Answered(Answer),
    /// A command, with its status.
    Exited(i32),
}

/// Why a guest was ended.
pub(super) enum Over {
    Wall,
    Cpu,
    Cancelled,
}

/// What is left of a call when its end is known: an instance that nothing refers to any more. It takes a while to put its
/// memory back to what it was, so whoever waits for the end hears of it first.
pub(super) struct Left {
    pub(super) like: Like,
    _store: Store<Guest>,
}

/// Runs a call to its end.
pub(super) async fn run(
    shared: &Shared,
    loaded: &Loaded,
    request: CallRequest,
    streams: Arc<Streams>,
    mut cancelled: oneshot::Receiver<()>,
) -> (Ended, Left) {
    let began = Instant::now();
    let CallRequest { call, grant, arguments, .. } = request;
    let grant = grant.into_grant();
    let (limits, like) = (grant.limits, Like::of(&grant));
    let ledger = Arc::new(Ledger::new(call, shared.out.clone()));
    let granted = if grant.network { Granted::Yes } else { Granted::No };
    let requests = Requests::new(call, granted, Arc::clone(&streams), Arc::clone(&ledger), shared.out.clone());
    let granted = if grant.sockets { Granted::Yes } else { Granted::No };
    let sockets = Sockets::new(call, granted, streams, Arc::clone(&ledger), shared.out.clone());
    let lingering = sockets.lingering();
    let tree = Arc::clone(&shared.tree);
    let mut guest = Guest::new(call, grant, tree, requests, sockets, Arc::clone(&ledger), shared.out.clone());
    if let Entrance::Command(_) = loaded.entrance {
        // It was read before the call was sent; what cannot be read has nothing for a command.
        guest.hand(serde_json::from_str(&arguments).unwrap_or_default());
    }

    let over = began.checked_add(limits.wall);
    let (mut store, made, mut cpu) = place(shared, loaded, guest, like).await;
    let outcome = {
        let _ticking = shared.ticker.ticking();
        let work = pin!(enter(loaded, &mut store, made, arguments));
        within(work, limits.cpu, over, &mut cancelled, &mut cpu).await
    };
    let guest = store.data_mut();
    let ((stdout, cut_out), (stderr, cut_err)) = (guest.stdout.take(), guest.stderr.take());
    let cut = cut_out.saturating_add(cut_err);
    let mut printed = Printed { stdout, stderr, cut };
    let ending = match outcome {
        Ok(Ok(Done::Answered(answer))) => replied(answer, limits.output_bytes),
        Ok(Ok(Done::Exited(status))) => {
            // What it printed is what it answers.
            let Printed { stdout, stderr, cut } = std::mem::take(&mut printed);
            Ending::Answered(command::reply(status, &stdout, &stderr, cut))
        }
        Ok(Err(error)) => broke(&error, guest, limits.memory_bytes),
        Err(Over::Cancelled) => Ending::Cancelled,
        Err(Over::Wall) => limited(Limited::Wall, limits.wall, began.elapsed()),
        Err(Over::Cpu) => limited(Limited::Cpu, limits.cpu, cpu),
    };
    let memory_peak_bytes = guest.limiter.peak_bytes();
    // What is still open is closed, and told, before the account is.
    guest.let_go();
    lingering.settle().await;
    let uses = ledger.close().await;
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let ended = Ended {
        ending,
        uses,
        usage: ToolUsage { wall_us: us(began.elapsed()), cpu_us: us(cpu), memory_peak_bytes },
        printed,
    };
    (ended, Left { like, _store: store })
}

/// Where an instance of this guest lives, with its limits.
pub(super) fn store(shared: &Shared, guest: Guest) -> Store<Guest> {
    let mut store = Store::new(&shared.engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.set_hostcall_fuel(HANDED_BYTES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store
}

/// Where the guest will be: in the instance that waits for its call, with the processor time that this one took already, or
/// in one that is not made yet.
async fn place(
    shared: &Shared,
    loaded: &Loaded,
    mut guest: Guest,
    like: Like,
) -> (Store<Guest>, Option<Instance>, Duration) {
    let ready = match &loaded.place {
        Some(place) => place.take(&shared.room, like).await,
        None => None,
    };
    let Some(Ready { mut store, instance, cpu, .. }) = ready else {
        return (store(shared, guest), None, Duration::ZERO);
    };
    store.set_epoch_deadline(1);
    guest.take_over(store.data());
    *store.data_mut() = guest;
    (store, Some(instance), cpu)
}

async fn enter(
    loaded: &Loaded,
    store: &mut Store<Guest>,
    made: Option<Instance>,
    arguments: String,
) -> wasmtime::Result<Done> {
    match loaded.entrance {
        Entrance::Call(call) => {
            let instance = instance(loaded, store, made).await?;
            let function = instance
                .get_typed_func::<(String,), (Answer,)>(&mut *store, call)
                .map_err(|error| error.context("its function `call` is not that of the world"))?;
            let (answer,) = function.call_async(&mut *store, (arguments,)).await?;
            Ok(Done::Answered(answer))
        }
        Entrance::Command(run) => {
            let ran = command(loaded, store, made, run).await;
            match ran.as_ref().err().and_then(|error| error.downcast_ref::<I32Exit>()) {
                Some(I32Exit(status)) => Ok(Done::Exited(*status)),
                None => ran.map(|went_well| Done::Exited(i32::from(went_well.is_err()))),
            }
        }
    }
}

/// The guest's own instance: the one that was made for it, or a new one.
async fn instance(loaded: &Loaded, store: &mut Store<Guest>, made: Option<Instance>) -> wasmtime::Result<Instance> {
    match made {
        Some(instance) => Ok(instance),
        None => loaded.instance.instantiate_async(store).await,
    }
}

async fn command(
    loaded: &Loaded,
    store: &mut Store<Guest>,
    made: Option<Instance>,
    run: ComponentExportIndex,
) -> wasmtime::Result<Result<(), ()>> {
    let instance = instance(loaded, store, made).await?;
    let function = instance
        .get_typed_func::<(), (Result<(), ()>,)>(&mut *store, run)
        .map_err(|error| error.context("its function `run` is not that of wasi:cli"))?;
    let (went_well,) = function.call_async(&mut *store, ()).await?;
    Ok(went_well)
}

/// Drives a guest until it is done, or over one of its limits, or not wanted any more.
pub(super) async fn within<T>(
    mut work: std::pin::Pin<&mut impl Future<Output = T>>,
    cpu_max: Duration,
    over: Option<Instant>,
    cancelled: &mut oneshot::Receiver<()>,
    cpu: &mut Duration,
) -> Result<T, Over> {
    let metered = poll_fn(|context| {
        let before = thread_time();
        let polled = work.as_mut().poll(context);
        *cpu += thread_time().saturating_sub(before);
        match polled {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if *cpu > cpu_max => Poll::Ready(Err(Over::Cpu)),
            Poll::Pending if over.is_some_and(|over| Instant::now() >= over) => Poll::Ready(Err(Over::Wall)),
            Poll::Pending => Poll::Pending,
        }
    });
    let asleep = async {
        match over {
            Some(over) => tokio::time::sleep_until(over.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        // A supervisor that dropped its end does not want the call either.
        _ = cancelled => Err(Over::Cancelled),
        done = metered => done,
        () = asleep => Err(Over::Wall),
    }
}

/// Processor time of this thread: while a guest is polled, nobody else runs on it.
fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn limited(limit: Limited, value: Duration, observed: Duration) -> Ending {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Ending::Limit { limit, value: ms(value), observed: ms(observed) }
}

fn replied(answer: Answer, bytes_max: u64) -> Ending {
    let reply = match answer {
        Ok(reply) => reply,
        Err(WitFailure::InvalidArguments(why)) => return Ending::Refused(Failure::InvalidArguments(cut(why))),
        Err(WitFailure::Refused(why)) => return Ending::Refused(Failure::Refused(cut(why))),
    };
    let images = reply.images.iter().map(|image| IMAGE_BYTES + image.media_type.len() + image.bytes.len());
    let bytes = reply.text.len() + reply.structured.as_ref().map_or(0, String::len) + images.sum::<usize>();
    let observed = u64::try_from(bytes).unwrap_or(u64::MAX);
    if observed > bytes_max {
        return Ending::Limit { limit: Limited::Output, value: bytes_max, observed };
    }
    let images = reply.images.into_iter().map(|image| (image.media_type, image.bytes)).collect();
    Ending::Answered(Reply { text: reply.text, structured: reply.structured, images })
}

/// Why a guest broke, in words that help whoever wrote it.
fn broke(error: &wasmtime::Error, guest: &Guest, memory_bytes: u64) -> Ending {
    let refused = guest.limiter.refused_bytes();
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        let more = refused.map_or_else(String::new, |wanted| {
            format!(", after it was refused memory: {wanted} bytes, of {memory_bytes}")
        });
        return Ending::Trapped { why: format!("it exited with status {status} before it answered{more}") };
    }
    let trap = error.downcast_ref::<Trap>();
    // What a guest does that gets no memory is to give up or to go beyond its memory; or it has not even begun.
    let can_be_of_memory = match trap {
        Some(Trap::UnreachableCodeReached | Trap::MemoryOutOfBounds) => true,
        Some(_) => false,
        None => error.downcast_ref::<NotGiven>().is_none(),
    };
    if let Some(observed) = refused.filter(|_| can_be_of_memory) {
        return Ending::Limit { limit: Limited::Memory, value: memory_bytes, observed };
    }
    let why = match trap {
        Some(Trap::StackOverflow) => "its calls went too deep: the stack is used up".to_owned(),
        Some(Trap::UnreachableCodeReached) => "it reached `unreachable`: a panic or an abort of its own".to_owned(),
        Some(trap) => trap.to_string(),
        None => words(error),
    };
    Ending::Trapped { why: cut(why) }
}
