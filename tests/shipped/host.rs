//! The smallest host that a tool can run in: one directory as the workspace, and nothing else. It never grants a network:
//! what a component imports of that is a trap.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

wasmtime::component::bindgen!({ path: "../tools-wasm/wit", world: "tool" });

use stockade::tool::tool_types::{Failure, Reply};

/// Where the components lie; another directory may be held against the same tests.
fn directory() -> PathBuf {
    match std::env::var_os("STOCKADE_COMPONENTS") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools-wasm/components"),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools-wasm/tools")
}

/// The tools that work on files or pages: the names of the shipped ones whose sources are the toolkit's.
pub(crate) fn components() -> Vec<String> {
    const TOOLS: [&str; 8] = ["read", "write", "edit", "patch", "glob", "grep", "list", "fetch"];
    TOOLS.map(str::to_owned).to_vec()
}

/// A tool's manifest, as it is written.
pub(crate) fn manifest(tool: &str) -> Value {
    let text = fs::read(root().join(tool).join("manifest.json")).expect("every tool has a manifest");
    serde_json::from_slice(&text).expect("it is JSON")
}

struct State {
    table: ResourceTable,
    wasi: WasiCtx,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl stockade::tool::tool_types::Host for State {}

impl stockade::tool::progress::Host for State {
    fn report(&mut self, _done: u64, _total: Option<u64>, _what: String) {}
}

/// An engine for some calls.
pub(crate) struct Host {
    engine: Engine,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host { engine: Engine::default() }
    }

    /// One call of one tool in an instance of its own.
    pub(crate) fn call(
        &self,
        tool: &str,
        workspace: &Path,
        arguments: &str,
    ) -> wasmtime::Result<Result<Reply, Failure>> {
        let component = Component::from_file(&self.engine, directory().join(format!("{tool}.wasm")))?;
        let mut linker = Linker::new(&self.engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        Tool::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| state)?;
        linker.define_unknown_imports_as_traps(&component)?;
        let path = workspace.to_str().expect("a test's directory has a Unicode name");
        let mut wasi = WasiCtxBuilder::new();
        wasi.preopened_dir(workspace, ".", FsPerms::ReadWrite)?;
        wasi.preopened_dir(workspace, path, FsPerms::ReadWrite)?;
        let state = State { table: ResourceTable::new(), wasi: wasi.build() };
        let mut store = Store::new(&self.engine, state);
        let instance = Tool::instantiate(&mut store, &component, &linker)?;
        instance.call_call(&mut store, arguments)
    }
}

/// What a tool imports: interfaces, and functions as `interface#function`.
pub(crate) fn imports(tool: &str) -> Vec<String> {
    let engine = Engine::default();
    let component =
        Component::from_file(&engine, directory().join(format!("{tool}.wasm"))).expect("it can be compiled");
    let mut all = Vec::new();
    for (name, item) in component.component_type().imports(&engine) {
        all.push(name.to_owned());
        if let ComponentItem::ComponentInstance(instance) = item.ty {
            for (function, item) in instance.exports(&engine) {
                if matches!(item.ty, ComponentItem::ComponentFunc(_)) {
                    all.push(format!("{name}#{function}"));
                }
            }
        }
    }
    all
}
