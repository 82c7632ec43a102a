//! The WASI wall without a session: an instance alone and a thousand of them, what being interruptible costs, a call of a tool that
//! does nothing over the channel to a worker, and one that reads a file of 1 KB. It never measures judging or logging:
//! `tests/bench/run tools` does.

#[path = "../tests/wasm/guests.rs"]
#[expect(dead_code, reason = "the tests have more guests than are measured")]
mod guests;

use criterion::{Criterion, criterion_group};
use std::hint::black_box;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use stockade::backend::process::Alone;
use stockade::backend::wasm::worker::{Prepared, Surroundings, compile};
use stockade::backend::wasm::{
    Cache, CallGrant, Component, End, Files, Kind, Life, Limits, Start, Started, ToolIo, ToolWall,
};
use wasmtime::component::{Instance, InstancePre, Linker, Val};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

/// Instances that live at the same time.
const LIVE: u32 = 1000;

/// A worker that is a thread: the channel and the engine are those of a confined one, the kernel's checks are not there.
struct Thread(OwnedFd);

impl Life for Thread {
    fn end(&mut self) -> String {
        match rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both) {
            Ok(()) | Err(_) => String::new(),
        }
    }
}

fn start(view: PathBuf) -> Start {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    Box::new(move |kind| {
        let flags = SocketFlags::CLOEXEC;
        let (channel, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket pair");
        let view = view.clone();
        std::thread::spawn(move || match kind {
            Kind::Compile => compile(theirs),
            Kind::Read | Kind::Write => {
                let mut prepared = Prepared::new()?;
                prepared.start_ticking().expect("there is room for a thread");
                prepared.serve(theirs, Surroundings::open_ambient(&view)?)
            }
        });
        let life = Thread(channel.try_clone().expect("one more descriptor"));
        Ok(Started { channel, life: Box::new(life) })
    })
}

fn grant(files: Files) -> CallGrant {
    CallGrant {
        files,
        directory: PathBuf::from("/"),
        network: false,
        sockets: false,
        clocks: false,
        random: false,
        env: Vec::new(),
        arguments: false,
        stdin: false,
        limits: Limits { wall: Duration::from_secs(60), ..Limits::default() },
    }
}

fn call(wall: &ToolWall, component: &Component, grant: &CallGrant, arguments: &str) {
    let mut connect = |_| Err(stockade::error::Error::host("no outlet"));
    let (mut used, mut progress) = (|_| Ok(()), |_| ());
    let io = ToolIo { connect: &mut connect, used: &mut used, progress: &mut progress, outside: &mut Alone };
    let ran = wall.run_arguments(arguments.to_owned(), component, grant, io).expect("it runs");
    assert!(matches!(ran.end, End::Answered(_)), "{ran:?}");
    black_box(ran);
}

fn calls(c: &mut Criterion) {
    let directory = std::env::temp_dir().join(format!("stockade-bench-wasm-{}", std::process::id()));
    let view = directory.join("view");
    std::fs::create_dir_all(&view).expect("ours");
    std::fs::write(view.join("file"), [b'x'; 1024]).expect("ours");
    let wall = ToolWall::new(start(view), Cache::open(&directory).expect("it opens"));

    let noop = Component::parse(guests::echo()).expect("a tool");
    call(&wall, &noop, &grant(Files::None), "{}");
    c.bench_function("no-op call, over the channel", |b| b.iter(|| call(&wall, &noop, &grant(Files::None), "{}")));

    let reader = Component::parse(guests::files(r#"{"files":"read"}"#)).expect("a tool");
    call(&wall, &reader, &grant(Files::Read), "rfile");
    c.bench_function("read of 1 KB, over the channel", |b| {
        b.iter(|| call(&wall, &reader, &grant(Files::Read), "rfile"))
    });

    drop(wall);
    std::fs::remove_dir_all(&directory).expect("ours");
}

/// Whether guests can be interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Epochs {
    On,
    Off,
}

/// An engine with a pool, as a worker has one, that also compiles.
fn engine(epochs: Epochs) -> Engine {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(LIVE).total_core_instances(LIVE * 2).total_memories(LIVE * 2).total_tables(LIVE * 2);
    pool.max_memory_size(1 << 30);
    let mut config = Config::new();
    config.wasm_component_model(true).concurrency_support(false).epoch_interruption(epochs == Epochs::On);
    config.memory_init_cow(true).table_lazy_init(true).generate_address_map(false);
    config.memory_reservation(1 << 30);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).expect("an engine")
}

/// A component that is ready to be made an instance of.
fn prepared(engine: &Engine, bytes: &[u8]) -> InstancePre<()> {
    let component = wasmtime::component::Component::new(engine, bytes).expect("it compiles");
    let mut linker = Linker::new(engine);
    linker.define_unknown_imports_as_traps(&component).expect("types alone are imported");
    linker.instantiate_pre(&component).expect("it links")
}

fn instance(engine: &Engine, pre: &InstancePre<()>) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = pre.instantiate(&mut store).expect("there is room");
    (store, instance)
}

/// An instance alone: the engine without a host that answers anything.
#[expect(clippy::print_stdout, reason = "memory is no time: criterion has no line for it")]
fn instances(c: &mut Criterion) {
    let compiler = stockade::backend::wasm::worker::compiler().expect("a compiler");
    c.bench_function("compile the no-op tool", |b| {
        b.iter(|| compiler.precompile_component(black_box(&guests::echo())).expect("it compiles"));
    });
    let engine = engine(Epochs::On);
    let pre = prepared(&engine, &guests::echo());
    c.bench_function("instantiation alone", |b| b.iter(|| black_box(instance(&engine, &pre))));
    let before = pss_bytes();
    let live: Vec<_> = (0..LIVE).map(|_| instance(&engine, &pre)).collect();
    println!("{LIVE} live instances: {:.1} MiB of memory", (pss_bytes() - before) as f64 / f64::from(1 << 20));
    drop(live);
}

/// A guest that counts to a million, with and without the checks that let it be interrupted.
fn epochs(c: &mut Criterion) {
    let body = "(local $turn i32) (block (loop (br_if 1 (i32.ge_u (local.get $turn) (i32.const 1000000)))
        (local.set $turn (i32.add (local.get $turn) (i32.const 1))) (i32.store (i32.const 2048) (local.get $turn)) (br 0)))
        (call $answer (local.get $p) (i32.const 0))";
    for (epochs, name) in
        [(Epochs::On, "a million turns, interruptible"), (Epochs::Off, "a million turns, not interruptible")]
    {
        let engine = engine(epochs);
        let pre = prepared(&engine, &guests::pure("counts", body));
        c.bench_function(name, |b| {
            b.iter(|| {
                let (mut store, instance) = instance(&engine, &pre);
                let call = instance.get_func(&mut store, "call").expect("a tool's function");
                let mut results = [Val::Bool(false)];
                call.call(&mut store, &[Val::String("{}".into())], &mut results).expect("it ends");
                black_box(results);
            });
        });
    }
}

/// What this process holds, shared pages divided among those who share them.
fn pss_bytes() -> i64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("the kernel tells it");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("it is there");
    let kib: i64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

criterion_group!(all, calls, instances, epochs);

fn main() {
    // As every process that starts sandboxes: harmless here, and the same binary may be a worker of the jail.
    stockade_jail::run_as_init_if_asked();
    all();
    Criterion::default().configure_from_args().final_summary();
}
