//! The smallest host that a tool can run in: one directory as the workspace, and nothing else. It never grants a network:
//! what a component imports of that is a trap.

use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// The contract, as Rust.
mod bindings {
    wasmtime::component::bindgen!({ path: "../tools-wasm/wit", world: "tool" });
}

use bindings::Tool;
use bindings::stockade::tool::tool_types::{Failure, Reply};
use bindings::stockade::tool::{progress, tool_types};

/// Where the components lie; another directory may be held against the same tests.
fn directory() -> PathBuf {
    match stockade_tests::binaries::variable("STOCKADE_COMPONENTS") {
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

impl tool_types::Host for State {}

impl progress::Host for State {
    fn report(&mut self, _done: u64, _total: Option<u64>, _what: String) {}
}

/// The engine of all tests, and each component compiled once: that takes seconds where nothing is optimised.
pub(crate) struct Host {
    engine: Engine,
    compiled: Mutex<HashMap<String, Component>>,
}

impl Host {
    pub(crate) fn new() -> &'static Host {
        static HOST: LazyLock<Host> =
            LazyLock::new(|| Host { engine: Engine::default(), compiled: Mutex::new(HashMap::new()) });
        &HOST
    }

    fn component(&self, tool: &str) -> wasmtime::Result<Component> {
        let mut compiled = self.compiled.lock().expect("no test panics while it compiles");
        if let Some(component) = compiled.get(tool) {
            return Ok(component.clone());
        }
        let component = Component::from_file(&self.engine, directory().join(format!("{tool}.wasm")))?;
        compiled.insert(tool.to_owned(), component.clone());
        Ok(component)
    }

    /// One call of one tool in an instance of its own.
    pub(crate) fn call(
        &self,
        tool: &str,
        workspace: &Path,
        arguments: &str,
    ) -> wasmtime::Result<Result<Reply, Failure>> {
        let component = self.component(tool)?;
        let mut linker = Linker::new(&self.engine);
        Tool::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| state)?;
        if manifest(tool)["ceiling"]["network"] == true {
            linker.define_unknown_imports_as_traps(&component)?;
        } else {
            wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        }
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
    let host = Host::new();
    let component = host.component(tool).expect("it can be compiled");
    let mut all = Vec::new();
    for (name, item) in component.component_type().imports(&host.engine) {
        all.push(name.to_owned());
        if let ComponentItem::ComponentInstance(instance) = item.ty {
            for (function, item) in instance.exports(&host.engine) {
                if matches!(item.ty, ComponentItem::ComponentFunc(_)) {
                    all.push(format!("{name}#{function}"));
                }
            }
        }
    }
    all
}
