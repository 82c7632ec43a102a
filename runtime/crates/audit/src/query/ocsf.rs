//! The log as events of the Open Cybersecurity Schema Framework, version 1.8: one event a record, one line an event.
//! It never says that something happened for which there is no record; each event carries its record as `raw_data`.

mod classes;
mod container;
mod tools;

use super::export::{endpoint, object, opened, text};
use super::{Disclose, LogReader};
use crate::disclose::Disclosed;
use crate::error::Result;
use crate::merkle::{Hash, leaf_hash};
use crate::record::*;
use classes::{of_change, of_method, of_operation};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::io::Write;

/// The version of the schema that events follow.
const VERSION: &str = "1.8.0";

/// A class of events and an activity of it.
#[derive(Clone, Copy)]
struct Class {
    uid: u64,
    activity: u64,
    /// What is not in the schema has a name of ours, and activity 99.
    name: &'static str,
    severity: u64,
}

const INFORMATIONAL: u64 = 1;
const LOW: u64 = 2;
const MEDIUM: u64 = 3;
const HIGH: u64 = 4;

const FILE: u64 = 1001;
const KERNEL: u64 = 1003;
const PROCESS: u64 = 1007;
const FINDING: u64 = 2004;
const NETWORK: u64 = 4001;
const HTTP: u64 = 4002;
const DNS: u64 = 4003;
const LIFECYCLE: u64 = 6002;
const API: u64 = 6003;
const BASE: u64 = 0;

fn class(uid: u64, activity: u64, name: &'static str) -> Class {
    Class { uid, activity, name, severity: INFORMATIONAL }
}

impl Class {
    fn severity(self, severity: u64) -> Self {
        Self { severity, ..self }
    }
}

impl LogReader {
    /// Writes one OCSF event a line: the session's, then those of its follow-up log, by another `log_name`; processes with
    /// their command lines and directories if these are disclosed.
    ///
    /// # Errors
    /// As [`LogReader::each`]; an error of `out` names the log's directory.
    pub fn export_ocsf(&self, after: Option<&Self>, out: &mut dyn Write, disclose: Disclose) -> Result<()> {
        let mut exporter = Exporter { openings: self.openings_to_show(disclose)?, ..Exporter::default() };
        for log in [Some(self), after].into_iter().flatten() {
            exporter.origin = log.origin();
            log.each_bytes(&mut |n, bytes| {
                let leaf = log.leaf(n, bytes)?;
                exporter.learn(&leaf);
                log.write_line(out, &exporter.event(&leaf, bytes))
            })?;
        }
        Ok(())
    }
}

/// What earlier records said that later events repeat.
#[derive(Default)]
struct Exporter<'a> {
    openings: HashMap<Hash, Disclosed>,
    origin: &'a str,
    /// The session as a device.
    sandbox: Json,
    /// The container that it is; null where it is none.
    container: Json,
    processes: HashMap<u64, Known>,
    /// Method, host, port and path by number of the request.
    requests: HashMap<u64, (String, String, u16, String)>,
    /// Host and port by number of the connection.
    connections: HashMap<u64, (String, u16)>,
    /// Name and component by number of the tool's instance.
    tools: HashMap<u64, (String, Digest)>,
}

/// A process as far as the log has told.
#[derive(Default)]
struct Known {
    pid: Option<u32>,
    pp: Option<u64>,
    exe: Option<LogPath>,
    hash: Option<Digest>,
    created_ms: Option<u64>,
    argv: Option<String>,
    cwd: Option<String>,
}

fn ms(ns: u64) -> u64 {
    ns / 1_000_000
}

impl Exporter<'_> {
    fn learn(&mut self, leaf: &Leaf) {
        if let Body::SessionOpen(open) = &leaf.body {
            let os = json!({ "name": "Linux", "type_id": 200, "kernel_release": open.kernel });
            let name = format!("stockade {} sandbox", open.wall);
            self.container = open.container.as_ref().map_or(Json::Null, container::of_container);
            self.sandbox = object([
                ("type_id", json!(6)),
                ("type", json!("Virtual")),
                ("uid", json!(open.sid)),
                ("name", json!(name)),
                ("os", os),
                ("container", self.container.clone()),
            ]);
        } else if let Body::ProcStart(start) = &leaf.body {
            let known = self.processes.entry(start.p).or_default();
            known.pid = Some(start.pid);
            known.pp = start.pp;
            known.created_ms = Some(ms(leaf.happened_wall_ns()));
        } else if let Body::ProcExec(exec) = &leaf.body {
            let argv = opened(&self.openings, &leaf.disclosed, "argv");
            let cwd = opened(&self.openings, &leaf.disclosed, "cwd");
            let known = self.processes.entry(exec.p).or_default();
            (known.exe, known.hash) = (exec.exe.clone().or_else(|| exec.asked.clone()), exec.h);
            (known.argv, known.cwd) = (argv, cwd);
        } else if let Body::ProcExit(exit) = &leaf.body {
            let known = self.processes.entry(exit.p).or_default();
            known.pid = Some(exit.pid);
            known.pp = known.pp.or(exit.pp);
            known.exe = known.exe.take().or_else(|| exit.exe.clone());
        } else if let Body::NetRequest(request) = &leaf.body {
            let NetRequest { r, method, host, port, path, .. } = request;
            self.requests.insert(*r, (method.clone(), host.clone(), *port, path.clone()));
        } else if let Body::NetOpen(open) = &leaf.body {
            self.connections.insert(open.c, (open.host.clone(), open.port));
        } else if let Body::ToolStart(start) = &leaf.body {
            self.tools.insert(start.t, (start.tool.clone(), start.h));
        }
    }

    fn process(&self, p: u64) -> Json {
        let none = Known::default();
        let known = self.processes.get(&p).unwrap_or(&none);
        let parent = known.pp.map(|pp| {
            let pid = self.processes.get(&pp).and_then(|parent| parent.pid);
            object([("uid", json!(format!("p{pp}"))), ("pid", json!(pid))])
        });
        let file = known.exe.as_ref().map(|exe| file(exe, 8, known.hash, None));
        object([
            ("uid", json!(format!("p{p}"))),
            ("pid", json!(known.pid)),
            ("name", json!(known.exe.as_ref().map(basename))),
            ("file", json!(file)),
            ("created_time", json!(known.created_ms)),
            ("cmd_line", json!(known.argv)),
            ("working_directory", json!(known.cwd)),
            ("parent_process", json!(parent)),
            ("container", self.container.clone()),
        ])
    }

    fn event(&self, leaf: &Leaf, bytes: &[u8]) -> Json {
        let class = classify(&leaf.body);
        let category = class.uid / 1000;
        let mut event = json!({
            "time": ms(leaf.happened_wall_ns()),
            "class_uid": class.uid,
            "category_uid": category,
            "activity_id": class.activity,
            "activity_name": class.name,
            "type_uid": class.uid * 100 + class.activity,
            "severity_id": class.severity,
            "confidence_id": confidence(leaf.evidence),
            "device": self.sandbox,
            "metadata": self.metadata(leaf, bytes),
            "raw_data": String::from_utf8_lossy(bytes),
        });
        let own = self.own(leaf, class);
        if let (Json::Object(event), Json::Object(own)) = (&mut event, own) {
            event.extend(own.into_iter().filter(|(_, value)| !value.is_null()));
            if event.get("device").is_some_and(Json::is_null) || class.uid == FINDING {
                event.remove("device");
            }
        }
        event
    }

    fn metadata(&self, leaf: &Leaf, bytes: &[u8]) -> Json {
        let profiles = if self.container.is_null() {
            json!(["host", "security_control"])
        } else {
            json!(["host", "security_control", "container"])
        };
        object([
            ("version", json!(VERSION)),
            ("product", product()),
            ("uid", json!(Digest(leaf_hash(bytes)).to_string())),
            ("sequence", json!(leaf.n)),
            ("profiles", profiles),
            ("log_name", json!(self.origin)),
            ("event_code", json!(leaf.body.kind())),
            ("correlation_uid", json!(leaf.call.as_ref().map(CallId::as_str))),
            ("labels", json!([format!("evidence:{}", leaf.evidence.word())])),
        ])
    }

    /// What an event of this class has beyond what all have.
    fn own(&self, leaf: &Leaf, class: Class) -> Json {
        let us = json!({ "app_name": "stockade" });
        let by = |p: u64| json!({ "process": self.process(p) });
        match &leaf.body {
            Body::SessionOpen(_) | Body::SessionClose(_) => json!({ "app": product() }),
            Body::Call(_) | Body::Permit(_) | Body::Deny(_) | Body::Outcome(_) => self.api(leaf),
            Body::ProcStart(start) => {
                let actor = start.pp.map_or_else(|| us.clone(), by);
                json!({ "actor": actor, "process": self.process(start.p), "launch_type_id": 2 })
            }
            Body::ProcExec(exec) => {
                json!({ "actor": by(exec.p), "process": self.process(exec.p), "launch_type_id": 3 })
            }
            Body::ProcExit(exit) => {
                let actor = exit.pp.map_or_else(|| us.clone(), by);
                let code = (exit.cause == Cause::Exit).then_some(exit.status);
                let detail = format!("{:?} {}", exit.cause, exit.status).to_lowercase();
                json!({ "actor": actor, "process": self.process(exit.p), "exit_code": code, "status_detail": detail })
            }
            Body::ProcCall(call) => {
                let kernel = json!({ "name": call.call, "type_id": 2, "type": "System Call" });
                let failed = call.errno.filter(|errno| *errno != 0);
                let status = if failed.is_some() { 2 } else { 1 };
                json!({ "actor": by(call.p), "kernel": kernel, "status_id": status, "status_code": failed.map(|e| e.to_string()) })
            }
            Body::FsOpen(_) | Body::FsChange(_) => self.file(leaf),
            Body::FsOutcome(change) => outcome(change, &us),
            Body::Apply(Apply(Act::File(change)))
            | Body::Discard(Discard(Act::File(change)))
            | Body::Undo(Undo(Act::File(change))) => outcome(change, &us),
            Body::ToolStart(_) | Body::ToolEnd(_) => self.tool_life(leaf),
            Body::ToolUse(used) => self.tool_use(used),
            Body::NetAsk(_) | Body::NetOpen(_) | Body::NetClose(_) | Body::NetRefuse(_) => self.network(leaf),
            Body::NetName(name) => {
                let answers = name.addr.as_ref().map(|addr| json!([{ "rdata": addr, "type": name.ty }]));
                let query = json!({ "hostname": name.name, "type": name.ty });
                json!({ "query": query, "answers": answers, "dst_endpoint": { "name": "stockade resolver" } })
            }
            Body::NetRequest(_) | Body::NetReply(_) => self.http(leaf),
            Body::SecretCanary(_) | Body::Gap(_) | Body::Limit(_) => {
                let uid = format!("{}#{}", self.origin, leaf.n);
                json!({ "finding_info": { "uid": uid, "title": class.name }, "is_alert": true })
            }
            Body::Apply(Apply(Act::Begin(_) | Act::End(_)))
            | Body::Discard(Discard(Act::Begin(_) | Act::End(_)))
            | Body::Undo(Undo(Act::Begin(_) | Act::End(_)))
            | Body::Heartbeat(_)
            | Body::Recovery(_)
            | Body::Redact(_)
            | Body::SecretUse(_)
            | Body::SecretRotate(_)
            | Body::SecretScrub(_)
            | Body::LedgerInit(_)
            | Body::LedgerOpen(_)
            | Body::LedgerBeat(_)
            | Body::LedgerClose(_)
            | Body::LedgerAfter(_) => json!({}),
        }
    }

    fn api(&self, leaf: &Leaf) -> Json {
        let mut operation = leaf.body.kind().to_owned();
        let mut own = json!({ "status_id": 1 });
        if let Body::Call(call) = &leaf.body {
            operation.clone_from(&call.tool);
            let argv = opened(&self.openings, &leaf.disclosed, "argv");
            own = json!({ "message": argv });
        } else if let Body::Deny(deny) = &leaf.body {
            own = json!({ "status_id": 2, "status_code": deny.rule, "status_detail": deny.reason });
        } else if let Body::Outcome(outcome) = &leaf.body {
            let status = if outcome.cause == Cause::Exit && outcome.status == 0 { 1 } else { 2 };
            own = json!({ "status_id": status, "status_code": outcome.status.to_string(), "duration": outcome.wall_us / 1000 });
        }
        let call = leaf.call.as_ref().map(CallId::as_str);
        let api = object([
            ("operation", json!(operation)),
            ("request", call.map_or(json!(null), |uid| json!({ "uid": uid }))),
        ]);
        let more = json!({ "api": api, "actor": { "app_name": "agent" }, "src_endpoint": { "name": "agent" } });
        merged(own, more)
    }

    fn file(&self, leaf: &Leaf) -> Json {
        let actor = |p: u64| json!({ "process": self.process(p) });
        if let Body::FsOpen(open) = &leaf.body {
            let status = if open.errno.is_none_or(|errno| errno == 0) { 1 } else { 2 };
            let code = open.errno.filter(|errno| *errno != 0).map(|errno| errno.to_string());
            let mask = open.mode.map(|mode| format!("{mode:04o}"));
            let file = file(&open.path, 0, None, None);
            return json!({
                "actor": actor(open.p), "file": file, "status_id": status, "status_code": code, "create_mask": mask,
                "count": open.times, "status_detail": open.fl,
            });
        }
        let Body::FsChange(change) = &leaf.body else { return json!({}) };
        let result = change.to.as_ref().map(|to| file(to, 0, None, None));
        json!({
            "actor": actor(change.p), "file": file(&change.path, 0, None, None), "file_result": result,
            "count": change.times,
        })
    }

    fn network(&self, leaf: &Leaf) -> Json {
        if let Body::NetAsk(ask) = &leaf.body {
            let to = endpoint(&ask.addr)
                .map_or_else(|| json!({ "name": ask.addr }), |(ip, port)| json!({ "ip": ip, "port": port }));
            return json!({ "dst_endpoint": to, "count": ask.times, "actor": { "process": self.process(ask.p) } });
        }
        if let Body::NetOpen(open) = &leaf.body {
            return json!({ "dst_endpoint": host(&open.host, Some(open.port), None), "connection_info": connection(open.c) });
        }
        if let Body::NetClose(close) = &leaf.body {
            let traffic =
                json!({ "bytes_out": close.up, "bytes_in": close.down, "bytes": close.up.saturating_add(close.down) });
            let (name, port) =
                self.connections.get(&close.c).map_or(("unknown", None), |(host, port)| (host.as_str(), Some(*port)));
            let to = host(name, port, close.addr.as_deref());
            let status = if close.why == "done" { 1 } else { 2 };
            return json!({
                "dst_endpoint": to, "connection_info": connection(close.c), "traffic": traffic, "status_id": status,
                "status_detail": close.why, "duration": close.us / 1000,
            });
        }
        let Body::NetRefuse(refuse) = &leaf.body else { return json!({}) };
        json!({
            "dst_endpoint": host(&refuse.host, refuse.port, None), "status_id": 2, "status_code": refuse.rule,
            "status_detail": refuse.reason, "connection_info": refuse.c.map(connection),
        })
    }

    fn http(&self, leaf: &Leaf) -> Json {
        let (r, reply) = if let Body::NetReply(reply) = &leaf.body {
            (reply.r, Some(reply))
        } else if let Body::NetRequest(request) = &leaf.body {
            (request.r, None)
        } else {
            return json!({});
        };
        let known = self.requests.get(&r);
        let request = known.map(|(method, name, port, path)| {
            let url = json!({ "hostname": name, "port": port, "path": path });
            json!({ "http_method": method, "url": url, "uid": format!("r{r}") })
        });
        let addr = reply.and_then(|reply| reply.addr.as_deref());
        let to = known.map(|(_, name, port, _)| host(name, Some(*port), addr));
        let response = reply.and_then(|reply| reply.status).map(|code| json!({ "code": code }));
        let traffic = reply.map(|reply| json!({ "bytes_out": reply.up, "bytes_in": reply.down }));
        json!({
            "http_request": request.unwrap_or_else(|| json!({ "uid": format!("r{r}") })), "http_response": response,
            "dst_endpoint": to, "traffic": traffic, "status_detail": reply.map(|reply| &reply.why),
            "duration": reply.map(|reply| reply.us / 1000), "http_status": reply.and_then(|reply| reply.status),
        })
    }
}

fn merged(mut one: Json, other: Json) -> Json {
    if let (Json::Object(one), Json::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

fn product() -> Json {
    json!({ "name": "Stockade", "vendor_name": "Stockade", "version": env!("CARGO_PKG_VERSION") })
}

fn connection(c: u64) -> Json {
    json!({ "direction_id": 2, "uid": format!("c{c}"), "protocol_name": "tcp" })
}

fn host(name: &str, port: Option<u16>, addr: Option<&str>) -> Json {
    let ip = addr.and_then(endpoint).map(|(ip, _)| ip);
    object([("hostname", json!(name)), ("port", json!(port)), ("ip", json!(ip))])
}

fn basename(path: &LogPath) -> String {
    let whole = text(path);
    whole.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&whole).to_owned()
}

fn file(path: &LogPath, type_id: u64, hash: Option<Digest>, state: Option<&FileState>) -> Json {
    let hash = hash.or_else(|| state.and_then(|state| state.h));
    let hashes = hash.map(|hash| json!([{ "algorithm": "SHA-256", "algorithm_id": 3, "value": hash }]));
    object([
        ("name", json!(basename(path))),
        ("path", json!(text(path))),
        ("type_id", json!(type_id)),
        ("hashes", json!(hashes)),
        ("size", json!(state.and_then(|state| state.z))),
    ])
}

fn outcome(change: &FsOutcome, us: &Json) -> Json {
    let of = |state: &FileState| file(&change.path, file_type(state.ty), None, Some(state));
    let before = change.b.as_ref().map(of);
    let after = change.a.as_ref().map(of);
    let (file, result) = match (before, after) {
        (Some(before), after) => (before, after),
        (None, Some(after)) => (after, None),
        (None, None) => (file(&change.path, 0, None, None), None),
    };
    json!({ "actor": us, "file": file, "file_result": result })
}

fn file_type(ty: FileType) -> u64 {
    match ty {
        FileType::File => 1,
        FileType::Dir => 2,
        FileType::Symlink => 7,
        FileType::Fifo => 6,
        FileType::Socket => 5,
        FileType::Device => 99,
    }
}

/// How sure one can be of a record, in the schema's three steps.
fn confidence(evidence: Evidence) -> u64 {
    match evidence {
        Evidence::Claimed | Evidence::Observed => 1,
        Evidence::Confirmed => 2,
        Evidence::Performed | Evidence::Outcome => 3,
    }
}

fn classify(body: &Body) -> Class {
    match body {
        Body::SessionOpen(_) | Body::ToolStart(_) => class(LIFECYCLE, 3, "Start"),
        Body::SessionClose(_) | Body::ToolEnd(_) => class(LIFECYCLE, 4, "Stop"),
        Body::Call(_) => class(API, 99, "Call"),
        Body::Permit(_) => class(API, 99, "Permit"),
        Body::Deny(_) => class(API, 99, "Deny").severity(MEDIUM),
        Body::Outcome(_) => class(API, 99, "Result"),
        Body::ProcStart(_) | Body::ProcExec(_) => class(PROCESS, 1, "Launch"),
        Body::ProcExit(_) => class(PROCESS, 2, "Terminate"),
        Body::ProcCall(call) => {
            class(KERNEL, 4, "Invoke").severity(if call.errno.is_some() { LOW } else { INFORMATIONAL })
        }
        Body::Limit(_) => class(FINDING, 1, "A limit was reached").severity(LOW),
        Body::FsOpen(_) => class(FILE, 14, "Open"),
        Body::FsChange(change) => of_operation(change.op),
        Body::FsOutcome(change) => of_change(change.op),
        Body::Apply(Apply(Act::File(change)))
        | Body::Discard(Discard(Act::File(change)))
        | Body::Undo(Undo(Act::File(change))) => of_change(change.op),
        Body::Gap(_) => class(FINDING, 1, "Events are not in the log").severity(HIGH),
        Body::ToolUse(used) => tools::of_use(used),
        Body::NetAsk(ask) => match ask.op {
            SocketOp::Connect => class(NETWORK, 1, "Open"),
            SocketOp::Bind => class(NETWORK, 99, "Bind"),
            SocketOp::Listen => class(NETWORK, 7, "Listen"),
            SocketOp::Send => class(NETWORK, 6, "Traffic"),
        },
        Body::NetName(_) => class(DNS, 1, "Query"),
        Body::NetOpen(_) => class(NETWORK, 1, "Open"),
        Body::NetClose(_) => class(NETWORK, 2, "Close"),
        Body::NetRequest(request) => of_method(&request.method),
        Body::NetReply(_) => class(HTTP, 99, "Response"),
        Body::NetRefuse(_) => class(NETWORK, 5, "Refuse").severity(MEDIUM),
        Body::SecretCanary(_) => class(FINDING, 1, "A placeholder was where it has no business").severity(HIGH),
        Body::SecretUse(_) => class(BASE, 99, "Secret Used"),
        Body::SecretRotate(_) => class(BASE, 99, "Secret Rotated"),
        Body::SecretScrub(_) => class(BASE, 99, "Secret Scrubbed").severity(LOW),
        Body::Apply(Apply(Act::Begin(_) | Act::End(_))) => class(BASE, 99, "Apply"),
        Body::Discard(Discard(Act::Begin(_) | Act::End(_))) => class(BASE, 99, "Discard"),
        Body::Undo(Undo(Act::Begin(_) | Act::End(_))) => class(BASE, 99, "Undo"),
        Body::Heartbeat(_) => class(BASE, 99, "Heartbeat"),
        Body::Recovery(_) => class(BASE, 99, "Recovery").severity(LOW),
        Body::Redact(_) => class(BASE, 99, "Redaction"),
        Body::LedgerInit(_)
        | Body::LedgerOpen(_)
        | Body::LedgerBeat(_)
        | Body::LedgerClose(_)
        | Body::LedgerAfter(_) => class(BASE, 99, "Ledger"),
    }
}
