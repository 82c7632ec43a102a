//! What a component's imports are linked to: our own files, clocks, randomness, requests and refusals.
//! It never links an interface that gives something without the grant being asked.

use crate::backend::wasm::worker::guest::Guest;
use crate::backend::wasm::worker::view::OwnFiles;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime::{Engine, StoreContextMut};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView};
use wasmtime_wasi_io::bindings::wasi::io;

/// The interface of [`Guest::report`].
const PROGRESS: &str = "stockade:tool/progress@0.1.0";

/// A guest itself.
struct Itself;

impl HasData for Itself {
    type Data<'a> = &'a mut Guest;
}

/// A guest's handles.
struct Handles;

impl HasData for Handles {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links everything that a tool can import.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    io::error::add_to_linker::<Guest, Handles>(l, |guest| &mut guest.table)?;
    io::poll::add_to_linker::<Guest, Handles>(l, |guest| &mut guest.table)?;
    io::streams::add_to_linker::<Guest, Handles>(l, |guest| &mut guest.table)?;
    filesystem::types::add_to_linker::<Guest, OwnFiles>(l, Guest::files)?;
    filesystem::preopens::add_to_linker::<Guest, OwnFiles>(l, Guest::files)?;
    clocks::wall_clock::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    clocks::monotonic_clock::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    random::random::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    random::insecure::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    random::insecure_seed::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    cli::environment::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    cli::exit::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    cli::stdin::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    cli::stdout::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    cli::stderr::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    cli::terminal_input::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    cli::terminal_output::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    cli::terminal_stdin::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    cli::terminal_stdout::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    cli::terminal_stderr::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    sockets(l)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?;
    l.instance(PROGRESS)?.func_wrap_async("report", |mut store: StoreContextMut<'_, Guest>, said| {
        let (done, total, what): (u64, Option<u64>, String) = said;
        Box::new(async move {
            store.data_mut().report(done, total, what).await;
            Ok(())
        })
    })?;
    Ok(linker)
}

/// Connections are there, and are refused without the grant. Of datagrams there is what a standard library names, and
/// none can be made.
fn sockets(l: &mut Linker<Guest>) -> wasmtime::Result<()> {
    fn theirs(guest: &mut Guest) -> WasiSocketsCtxView<'_> {
        WasiSocketsCtxView { ctx: &mut guest.unused, table: &mut guest.table }
    }
    sockets::tcp_create_socket::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    sockets::udp_create_socket::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    sockets::ip_name_lookup::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    sockets::tcp::add_to_linker::<Guest, Itself>(l, |guest| guest)?;
    sockets::instance_network::add_to_linker::<Guest, WasiSockets>(l, theirs)?;
    sockets::network::add_to_linker::<Guest, WasiSockets>(l, &sockets::network::LinkOptions::default(), theirs)?;
    sockets::udp::add_to_linker::<Guest, WasiSockets>(l, theirs)?;
    Ok(())
}
