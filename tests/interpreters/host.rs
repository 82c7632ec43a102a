//! A bare host for the two interpreters: wasmtime and its own WASI, the workspace as a preopened directory.
//! It never judges, records or confines: that is the runtime's, and tested there.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wasmtime::component::{Component, InstancePre, Linker, ResourceTable, Val};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// A component that is compiled and linked.
pub(crate) struct Tool {
    engine: Engine,
    instance: InstancePre<State>,
}

struct State {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// What a call came to.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply { text: String, structured: Value },
    InvalidArguments(String),
    Refused(String),
}

impl Answer {
    /// Why the arguments were refused.
    #[track_caller]
    pub(crate) fn invalid(self) -> String {
        let Answer::InvalidArguments(why) = self else { panic!("{self:?}") };
        why
    }

    /// The structured part of a reply.
    #[track_caller]
    pub(crate) fn structured(self) -> Value {
        match self {
            Answer::Reply { structured, .. } => structured,
            Answer::InvalidArguments(why) | Answer::Refused(why) => panic!("no reply, but: {why}"),
        }
    }
}

/// Where the built components lie.
pub(crate) fn component(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools-wasm/components").join(format!("{name}.wasm"))
}

impl Tool {
    pub(crate) fn load(name: &str) -> Tool {
        let path = component(name);
        assert!(path.exists(), "{} is missing; `tools-wasm/build {name}` builds it", path.display());
        let engine = Engine::new(&Config::new()).expect("an engine");
        let component = Component::from_file(&engine, &path).expect("a component");
        let mut linker: Linker<State> = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).expect("WASI links");
        let mut progress = linker.instance("stockade:tool/progress@0.1.0").expect("an instance");
        progress.func_new("report", |_, _, _, _| Ok(())).expect("a function");
        let instance = linker.instantiate_pre(&component).expect("its imports are WASI's and the contract's");
        Tool { engine, instance }
    }

    /// One call in an instance of its own.
    pub(crate) fn call(&self, work: &Path, environment: &BTreeMap<String, String>, arguments: &Value) -> Answer {
        let mut builder = WasiCtxBuilder::new();
        for name in [".", work.to_str().expect("a path of text")] {
            builder.preopened_dir(work, name, FsPerms::ReadWrite).expect("a directory");
        }
        for (name, value) in environment {
            builder.env(name, value);
        }
        let state = State { wasi: builder.build(), table: ResourceTable::new() };
        let mut store = Store::new(&self.engine, state);
        let instance = self.instance.instantiate(&mut store).expect("it instantiates");
        // As the runtime does it from the second call on.
        if let Some(prepare) = instance.get_func(&mut store, "prepare") {
            prepare.call(&mut store, &[], &mut []).expect("it can be prepared");
        }
        let call = instance.get_func(&mut store, "call").expect("its one export");
        let mut results = [Val::Bool(false)];
        call.call(&mut store, &[Val::String(arguments.to_string())], &mut results).expect("it does not trap");
        let [result] = results;
        read(result)
    }
}

fn read(result: Val) -> Answer {
    let Val::Result(result) = result else { panic!("no result") };
    match result {
        Ok(Some(reply)) => {
            let Val::Record(fields) = *reply else { panic!("a reply is a record") };
            let mut fields: BTreeMap<String, Val> = fields.into_iter().collect();
            let Some(Val::String(text)) = fields.remove("text") else { panic!("a reply has a text") };
            let Some(Val::Option(Some(structured))) = fields.remove("structured") else {
                panic!("it has a structured part")
            };
            let Val::String(structured) = *structured else { panic!("which is text") };
            Answer::Reply { text, structured: serde_json::from_str(&structured).expect("and JSON") }
        }
        Err(Some(failure)) => {
            let Val::Variant(kind, Some(why)) = *failure else { panic!("a failure is a variant") };
            let Val::String(why) = *why else { panic!("a failure has a text") };
            if kind == "refused" { Answer::Refused(why) } else { Answer::InvalidArguments(why) }
        }
        Ok(None) | Err(None) => panic!("a result without a value"),
    }
}
