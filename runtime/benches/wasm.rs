//! The WASI wall without a session: an instance alone, a call of a tool that does nothing over the channel to a confined
//! worker, and one that reads a file of 1 KB. It never measures judging or logging: `session` does.

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
        clocks: false,
        random: false,
        env: Vec::new(),
        stdin: Vec::new(),
        limits: Limits { wall: Duration::from_secs(60), ..Limits::default() },
    }
}

fn call(wall: &ToolWall, component: &Component, grant: &CallGrant, arguments: &str) {
    let mut connect = || Err(stockade::error::Error::host("no outlet"));
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

/// An instance alone: the same engine, without a host that answers anything.
fn instances(c: &mut Criterion) {
    let compiler = stockade::backend::wasm::worker::compiler().expect("a compiler");
    c.bench_function("compile the no-op tool", |b| {
        b.iter(|| compiler.precompile_component(black_box(&guests::echo())).expect("it compiles"));
    });
}

criterion_group!(all, calls, instances);

fn main() {
    // As every process that starts sandboxes: harmless here, and the same binary may be a worker of the jail.
    stockade_jail::run_as_init_if_asked();
    all();
    Criterion::default().configure_from_args().final_summary();
}
