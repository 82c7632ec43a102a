//! The engine of one process: how code is compiled, where instances live, and the tick that interrupts them.
//! It never loads code that our own compiler did not make.

use crate::backend::wasm::worker::ready::READY_MAX;
use crate::error::{Error, Result};
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// Calls that a worker holds at the same time. The pool has no room for more: those are refused.
pub const CALLS_MAX: u32 = 1000;
/// Core modules of one component: its own, adapters and shims. Interpreters have a dozen.
const MODULES_PER_COMPONENT: u32 = 64;
/// Memories of one component.
const MEMORIES_PER_COMPONENT: u32 = 16;
/// Tables of one component.
const TABLES_PER_COMPONENT: u32 = 32;
/// Bytes that one memory can have.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Entries of one table; CPython has some ten thousand functions.
const TABLE_ENTRIES_MAX: usize = 64 * 1024;
/// Bytes of what wasmtime keeps of one instance.
const INSTANCE_BYTES_MAX: usize = 4 << 20;
/// Bytes of a memory that stay in place between two calls, put back to what they were: the kernel says which were written.
const KEEP_RESIDENT_BYTES: usize = 8 << 20;
/// Bytes of a guest's stack: where a recursion ends.
const WASM_STACK_BYTES: usize = 1 << 20;
/// Bytes of the stack that a guest and the host functions under it share.
const STACK_BYTES: usize = 2 << 20;
/// Addresses around each memory, so that most accesses need no check.
const MEMORY_GUARD_BYTES: u64 = 32 << 20;
const _: () = assert!(WASM_STACK_BYTES * 2 <= STACK_BYTES);

/// Threads that compile at most: what they hold together is within the memory of a worker that compiles.
const COMPILERS_MAX: usize = 4;
/// Bytes of the stack of each, as much as a main thread has.
const COMPILER_STACK_BYTES: usize = 8 << 20;

/// How often a running guest is interrupted to see whether it may go on.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call after which the ticker sleeps until there is one.
const IDLE_TICKS: u32 = 100;

/// What code is compiled for: equal in the process that compiles and in those that run, else the code is refused.
fn base() -> Config {
    let mut config = Config::new();
    // Without the proposals that no tool needs: what is not there cannot have a bug.
    config
        .wasm_component_model(true)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(STACK_BYTES)
        .memory_reservation(MEMORY_BYTES_MAX)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        .memory_may_move(false)
        .memory_init_cow(true)
        .table_lazy_init(true)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false);
    config
}

/// An engine that compiles and runs nothing.
///
/// # Errors
/// Host: the machine's processor is none that we compile for.
pub fn compiler() -> Result<Engine> {
    Engine::new(&base()).map_err(|error| failed("make a compiler", &error))
}

/// Starts the threads that compile, one for each processor up to four. They are rayon's, which starts them with the first
/// work otherwise: too late in a process that may start none any more.
///
/// # Errors
/// The machine has no room for another thread.
pub(super) fn start_compiling() -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(COMPILERS_MAX);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|_| "compile".to_owned())
        .stack_size(COMPILER_STACK_BYTES)
        .build_global()
        .map_err(io::Error::other)
}

/// An engine that runs and compiles nothing, its instances in a pool that is mapped now.
///
/// # Errors
/// Host: the machine has no room for the pool.
pub(super) fn runner() -> Result<Engine> {
    let pooled = |scan: Enabled, keep: usize| {
        let mut pool = PoolingAllocationConfig::new();
        // What waits for its call takes no room of calls.
        let instances = CALLS_MAX + READY_MAX;
        pool.total_component_instances(instances)
            .total_core_instances(instances * 8)
            .total_memories(instances * 2)
            .total_tables(instances * 4)
            .total_stacks(instances)
            .max_core_instances_per_component(MODULES_PER_COMPONENT)
            .max_memories_per_component(MEMORIES_PER_COMPONENT)
            .max_tables_per_component(TABLES_PER_COMPONENT)
            .max_component_instance_size(INSTANCE_BYTES_MAX)
            .max_core_instance_size(INSTANCE_BYTES_MAX)
            .max_memory_size(usize::try_from(MEMORY_BYTES_MAX).unwrap_or(usize::MAX))
            .table_elements(TABLE_ENTRIES_MAX)
            .max_unused_warm_slots(64)
            .linear_memory_keep_resident(keep)
            .table_keep_resident(keep)
            .pagemap_scan(scan);
        let mut config = base();
        config.enable_compiler(false).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        Engine::new(&config)
    };
    // Linux 6.7 says which pages were written, and then most stay where they are; before it, keeping any means to fill
    // all of them at each end of a call, and a thousand calls hold a gigabyte.
    pooled(Enabled::Yes, KEEP_RESIDENT_BYTES)
        .or_else(|_| pooled(Enabled::No, 0))
        .map_err(|error| failed("make room for instances", &error))
}

/// A name for what an engine's code can be loaded by: the version of wasmtime, its settings and the processor.
pub fn compatibility(engine: &Engine) -> u64 {
    // The same in every process of this binary: the hasher has no key of its own.
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Loads code that came over our channel.
///
/// # Errors
/// Host: it was compiled for another engine, or is cut.
#[expect(unsafe_code, reason = "the one line outside the jail: machine code of our own compiler becomes callable")]
pub(super) fn load(engine: &Engine, code: &[u8]) -> Result<Component> {
    // SAFETY: `deserialize` copies the bytes and trusts them to be what `precompile_component` made. They come in a sealed
    // memfd over the channel of the process that started us, which has them from its own compiling worker, or from its
    // cache after it checked their MAC, in the very copy that it sealed. A guest has no way to send on this channel.
    let loaded = unsafe { Component::deserialize(engine, code) };
    loaded.map_err(|error| failed("load compiled code", &error))
}

/// An error of wasmtime, all its causes in one line.
pub(super) fn failed(act: &str, error: &wasmtime::Error) -> Error {
    Error::host(format!("{act}: {}", words(error)))
}

/// What an error of wasmtime says, with its causes.
pub(super) fn words(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}

/// The thread that interrupts guests. It sleeps while no call runs, and ends with the process.
#[derive(Debug, Clone)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    /// Calls that run.
    running: AtomicUsize,
    /// It sleeps until it is woken.
    parked: AtomicBool,
}

/// A call that runs: while there is one, there are ticks.
#[derive(Debug)]
pub(super) struct Ticking(Ticker);

impl Ticker {
    /// Starts it.
    ///
    /// # Errors
    /// The machine has no room for another thread.
    pub(super) fn start(engine: &Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (theirs, engine) = (Arc::clone(&shared), engine.weak());
        let tick = move || {
            let mut idle = 0;
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                idle = if theirs.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
                if idle < IDLE_TICKS {
                    std::thread::sleep(TICK);
                    continue;
                }
                theirs.parked.store(true, Ordering::SeqCst);
                // A call that began meanwhile did not see the flag, and is seen here instead.
                while theirs.running.load(Ordering::SeqCst) == 0 && theirs.parked.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                theirs.parked.store(false, Ordering::SeqCst);
                idle = 0;
            }
        };
        let thread = std::thread::Builder::new().name("tick".to_owned()).stack_size(64 * 1024).spawn(tick)?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// A call begins.
    pub(super) fn ticking(&self) -> Ticking {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Ticking(self.clone())
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}
