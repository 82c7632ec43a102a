//! The log as OpenTelemetry data (OTLP/JSON): a log record for each leaf, a span for the session, each call, each process and tool.
//! It never sends anything; each line is one export request, as a file exporter writes it.

use super::export::{opened, text};
use super::process::{Called, Decided, Mark, Process, Tree};
use super::subject::{host_of, path_of, process_of, tool_of};
use super::tool::Tool;
use super::{Disclose, LogReader};
use crate::disclose::Disclosed;
use crate::error::Result;
use crate::merkle::{Hash, sha256};
use crate::record::*;
use crate::text::hex;
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::io::Write;

/// Log records, or spans, of one request.
const BATCH: usize = 512;

impl LogReader {
    /// Writes one OTLP export request a line: first logs, then traces. With [`Disclose::Yes`], calls and processes have
    /// their command lines. The log records of the follow-up log come behind the session's, and belong to the session's span.
    ///
    /// # Errors
    /// As [`LogReader::each`]; an error of `out` names the log's directory.
    pub fn export_otlp(&self, after: Option<&Self>, out: &mut dyn Write, disclose: Disclose) -> Result<()> {
        let openings = self.openings_to_show(disclose)?;
        let mut story = Story { openings, ..Story::default() };
        let mut batch = Vec::new();
        for log in [Some(self), after].into_iter().flatten() {
            story.origin = log.origin();
            log.each_bytes(&mut |n, bytes| {
                let leaf = log.leaf(n, bytes)?;
                // What comes afterwards makes no span of the session longer.
                if std::ptr::eq(log, self) {
                    story.learn(&leaf);
                }
                batch.push(story.log_record(&leaf, bytes));
                if batch.len() == BATCH { log.write_line(out, &story.logs(&mut batch)) } else { Ok(()) }
            })?;
        }
        if !batch.is_empty() {
            self.write_line(out, &story.logs(&mut batch))?;
        }
        for spans in story.spans().chunks(BATCH) {
            self.write_line(out, &story.traces(spans))?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Story<'a> {
    /// The log whose records are told.
    origin: &'a str,
    openings: HashMap<Hash, Disclosed>,
    tree: Tree,
    open: Option<(Mark, SessionOpen)>,
    close: Option<(Mark, SessionClose)>,
    last_ns: u64,
}

/// An attribute; a value that is not there is none.
fn attribute(key: &str, value: Option<Json>) -> Option<Json> {
    Some(json!({ "key": key, "value": value? }))
}

fn string(text: impl Into<String>) -> Option<Json> {
    Some(json!({ "stringValue": text.into() }))
}

/// Numbers of 64 bits are strings in the JSON of protocol buffers.
fn int(number: impl std::fmt::Display) -> Option<Json> {
    Some(json!({ "intValue": number.to_string() }))
}

fn list(texts: &[&str]) -> Json {
    json!({ "arrayValue": { "values": texts.iter().map(|text| json!({ "stringValue": text })).collect::<Vec<_>>() } })
}

fn attributes<const N: usize>(list: [Option<Json>; N]) -> Vec<Json> {
    list.into_iter().flatten().collect()
}

impl Story<'_> {
    fn learn(&mut self, leaf: &Leaf) {
        self.last_ns = leaf.wall_ns;
        self.tree.take(leaf);
        if let Body::SessionOpen(open) = &leaf.body {
            self.open = Some((Mark::of(leaf), open.clone()));
        } else if let Body::SessionClose(close) = &leaf.body {
            self.close = Some((Mark::of(leaf), close.clone()));
        }
    }

    fn sid(&self) -> &str {
        self.open.as_ref().map_or("", |(_, open)| open.sid.as_str())
    }

    /// The trace is the session.
    fn trace_id(&self) -> String {
        hex(&sha256(self.sid().as_bytes())[..16])
    }

    fn span_id(&self, of: &str) -> String {
        hex(&sha256(format!("{}/{of}", self.sid()).as_bytes())[..8])
    }

    fn span_of(&self, leaf: &Leaf) -> String {
        if let Some(t) = tool_of(&leaf.body).filter(|_| !matches!(leaf.body, Body::Outcome(_))) {
            return self.span_id(&format!("t{t}"));
        }
        match (process_of(&leaf.body), &leaf.call) {
            (Some(p), _) => self.span_id(&format!("p{p}")),
            (None, Some(call)) => self.span_id(call.as_str()),
            (None, None) => self.span_id("session"),
        }
    }

    fn log_record(&self, leaf: &Leaf, bytes: &[u8]) -> Json {
        let (number, word) = severity(&leaf.body);
        let process = process_of(&leaf.body);
        let known = process.and_then(|p| self.tree.processes.get(&p));
        let exit = if let Body::ProcExit(exit) = &leaf.body { Some(exit) } else { None };
        let request = if let Body::NetRequest(request) = &leaf.body { Some(request) } else { None };
        let status = if let Body::NetReply(reply) = &leaf.body { reply.status } else { None };
        let own = attributes([
            attribute("stockade.log.name", string(self.origin)),
            attribute("stockade.record.number", int(leaf.n)),
            attribute("stockade.evidence", string(leaf.evidence.word())),
            attribute("stockade.call.id", leaf.call.as_ref().and_then(|call| string(call.as_str()))),
            attribute("stockade.process.id", process.and_then(|p| string(format!("p{p}")))),
            attribute("process.pid", known.and_then(|known| known.pid).and_then(int)),
            attribute(
                "process.executable.path",
                known.and_then(|known| known.program()).and_then(|exe| string(text(exe))),
            ),
            attribute("process.exit.code", exit.and_then(|exit| int(exit.status))),
            attribute("file.path", path_of(&leaf.body).and_then(|path| string(text(path)))),
            attribute("server.address", host_of(&leaf.body).and_then(string)),
            attribute("http.request.method", request.and_then(|request| string(&request.method))),
            attribute("url.path", request.and_then(|request| string(&request.path))),
            attribute("http.response.status_code", status.and_then(int)),
        ]);
        json!({
            "timeUnixNano": leaf.happened_wall_ns().to_string(),
            "observedTimeUnixNano": leaf.wall_ns.to_string(),
            "severityNumber": number,
            "severityText": word,
            "eventName": format!("stockade.{}", leaf.body.kind()),
            "body": { "stringValue": String::from_utf8_lossy(bytes) },
            "attributes": own,
            "traceId": self.trace_id(),
            "spanId": self.span_of(leaf),
        })
    }

    fn resource(&self) -> Json {
        let open = self.open.as_ref().map(|(_, open)| open);
        let mut own = attributes([
            attribute("service.name", string("stockade")),
            attribute("service.version", string(env!("CARGO_PKG_VERSION"))),
            attribute("service.instance.id", string(self.sid())),
            attribute("os.type", string("linux")),
            attribute("os.version", open.and_then(|open| string(&open.kernel))),
            attribute("stockade.profile", open.and_then(|open| string(&open.profile))),
            attribute("stockade.wall", open.and_then(|open| string(&open.wall))),
            attribute("stockade.grade", open.and_then(|open| string(&open.grade))),
        ]);
        own.extend(open.and_then(|open| open.container.as_ref()).into_iter().flat_map(of_container));
        json!({ "attributes": own })
    }

    fn logs(&self, batch: &mut Vec<Json>) -> Json {
        let records = std::mem::take(batch);
        json!({ "resourceLogs": [{ "resource": self.resource(), "scopeLogs": [{ "scope": scope(), "logRecords": records }] }] })
    }

    fn traces(&self, spans: &[Json]) -> Json {
        json!({ "resourceSpans": [{ "resource": self.resource(), "scopeSpans": [{ "scope": scope(), "spans": spans }] }] })
    }

    /// The session, its calls, their processes and tools.
    fn spans(&self) -> Vec<Json> {
        let session = self.open.as_ref().map(|(opened, _)| {
            let end = self.close.as_ref().map(|(mark, _)| *mark);
            let failed = self.close.as_ref().is_some_and(|(_, close)| close.cause != Cause::Exit);
            let (of, name) = ("session".to_owned(), "session".to_owned());
            Span { of, parent: None, name, start: *opened, end, failed, own: Vec::new() }
        });
        let calls = self.tree.calls.iter().map(|called| self.of_call(called));
        let processes = self.tree.processes.values().filter_map(|process| self.of_process(process));
        let tools = self.tree.tools.values().filter_map(Self::of_tool);
        session.into_iter().chain(calls).chain(processes).chain(tools).map(|span| self.span(span)).collect()
    }

    fn of_call(&self, called: &Called) -> Span {
        let ended = called.ended.as_ref();
        let denied = matches!(called.decided, Some(Decided::Denied(..)));
        let failed = ended.is_some_and(|(_, outcome)| outcome.cause != Cause::Exit || outcome.status != 0) || denied;
        let decided = match &called.decided {
            Some(Decided::Permitted(..)) => string("permitted"),
            Some(Decided::Denied(..)) => string("denied"),
            None => None,
        };
        let own = attributes([
            attribute("stockade.call.id", string(called.id.as_str())),
            attribute("stockade.call.decision", decided),
            attribute("gen_ai.tool.name", string(&called.call.tool)),
            attribute("process.command_line", opened(&self.openings, &called.disclosed, "argv").and_then(string)),
            attribute("process.exit.code", ended.and_then(|(_, outcome)| int(outcome.status))),
        ]);
        let end = match (&called.decided, ended) {
            (_, Some((mark, _))) | (Some(Decided::Denied(mark, _)), None) => Some(*mark),
            (Some(Decided::Permitted(..)) | None, None) => None,
        };
        let (of, parent) = (called.id.to_string(), Some("session".to_owned()));
        Span { of, parent, name: called.call.tool.clone(), start: called.at, end, failed, own }
    }

    fn of_process(&self, process: &Process) -> Option<Span> {
        let parent = match (process.pp, &process.call) {
            (Some(pp), _) => format!("p{pp}"),
            (None, Some(call)) => call.to_string(),
            (None, None) => "session".to_owned(),
        };
        let exec = process.execs.last();
        let argv = exec.and_then(|exec| opened(&self.openings, &exec.disclosed, "argv"));
        let hash = exec.and_then(|exec| exec.exec.h).and_then(|hash| string(hash.to_string()));
        let exit = process.ended.as_ref().map(|(_, exit)| exit);
        let own = attributes([
            attribute("stockade.process.id", string(format!("p{}", process.p))),
            attribute("process.pid", process.pid.and_then(int)),
            attribute("process.executable.path", process.program().and_then(|exe| string(text(exe)))),
            attribute("stockade.executable.sha256", hash),
            attribute("process.command_line", argv.and_then(string)),
            attribute("process.exit.code", exit.and_then(|exit| int(exit.status))),
            attribute("stockade.cpu_us", exit.and_then(|exit| exit.cpu_us).and_then(int)),
        ]);
        let name = process.program().map_or_else(|| format!("p{}", process.p), text);
        let failed = exit.is_some_and(|exit| exit.cause != Cause::Exit || exit.status != 0);
        let end = process.ended.as_ref().map(|(mark, _)| *mark);
        let of = format!("p{}", process.p);
        Some(Span { of, parent: Some(parent), name, start: process.since()?, end, failed, own })
    }

    fn of_tool(tool: &Tool) -> Option<Span> {
        let parent = tool.call.as_ref().map_or_else(|| "session".to_owned(), CallId::to_string);
        let (start, end) = (tool.started.as_ref().map(|(_, start)| start), tool.ended.as_ref());
        let own = attributes([
            attribute("stockade.tool.id", string(format!("t{}", tool.t))),
            attribute("gen_ai.tool.name", tool.name().and_then(string)),
            attribute("stockade.component.sha256", start.and_then(|start| string(start.h.to_string()))),
            attribute("stockade.cpu_us", end.and_then(|(_, end)| int(end.cpu_us))),
            attribute("stockade.memory_bytes", end.and_then(|(_, end)| int(end.mem_bytes))),
            attribute("stockade.tool.uses", end.and_then(|(_, end)| int(end.uses))),
        ]);
        let of = format!("t{}", tool.t);
        let name = tool.name().map_or_else(|| of.clone(), str::to_owned);
        let failed = end.is_some_and(|(_, end)| end.cause != Cause::Exit || end.status != 0);
        let end = end.map(|(mark, _)| *mark);
        Some(Span { of, parent: Some(parent), name, start: tool.since()?, end, failed, own })
    }

    fn span(&self, Span { of, parent, name, start, end, failed, mut own }: Span) -> Json {
        own.extend(attribute("stockade.record.number", int(start.n)));
        if end.is_none() {
            own.extend(attribute("stockade.unfinished", Some(json!({ "boolValue": true }))));
        }
        json!({
            "traceId": self.trace_id(),
            "spanId": self.span_id(&of),
            "parentSpanId": parent.map_or_else(String::new, |parent| self.span_id(&parent)),
            "name": name,
            "kind": 1,
            "startTimeUnixNano": start.wall_ns.to_string(),
            "endTimeUnixNano": end.map_or(self.last_ns, |end| end.wall_ns).to_string(),
            "attributes": own,
            "status": { "code": if failed { 2 } else { 0 } },
        })
    }
}

/// The container of a session, by the names that the semantic conventions have. There a container's runtime is what they
/// call an engine elsewhere, so that the OCI runtime has a name of ours.
fn of_container(container: &Container) -> Vec<Json> {
    let (name, tag) = container.image_name();
    attributes([
        attribute("container.id", string(container.id.to_string())),
        attribute("container.runtime.name", string(&container.engine)),
        attribute("container.runtime.version", string(&container.engine_v)),
        attribute("container.image.id", string(format!("sha256:{}", container.image_id))),
        attribute("container.image.name", name.and_then(string)),
        attribute("container.image.tags", tag.map(|tag| list(&[tag]))),
        attribute("container.image.repo_digests", container.repo_digest.as_deref().map(|digest| list(&[digest]))),
        attribute("stockade.container.image", string(&container.image)),
        attribute("stockade.container.oci_runtime", string(&container.runtime)),
        attribute("stockade.container.rights", string(container.rights.word())),
    ])
}

/// Something that took time. What has not ended ends with the last record, and says so.
struct Span {
    of: String,
    /// What it is a part of; the session is a part of nothing.
    parent: Option<String>,
    name: String,
    start: Mark,
    end: Option<Mark>,
    failed: bool,
    own: Vec<Json>,
}

fn scope() -> Json {
    json!({ "name": "stockade.log", "version": env!("CARGO_PKG_VERSION") })
}

/// Number and word of a severity, as OpenTelemetry counts them.
fn severity(body: &Body) -> (u64, &'static str) {
    if matches!(body, Body::Gap(_) | Body::SecretCanary(_)) {
        (17, "ERROR")
    } else if matches!(body, Body::Deny(_) | Body::Limit(_) | Body::NetRefuse(_)) {
        (13, "WARN")
    } else if matches!(body, Body::Heartbeat(_)) {
        (5, "DEBUG")
    } else {
        (9, "INFO")
    }
}
