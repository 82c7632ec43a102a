//! Every kind of record as a sentence: a verb, and what it is about.
//! It never says more than the record does, and never passes on a character that commands a terminal.

use super::tools;
use super::words::{bytes, change, count, ending, errno, file_type, list, mark, operation, paths, socket, span, via};
use crate::cli::style::Tone;
use std::collections::HashMap;
use stockade_audit::disclose::{Disclosed, Value};
use stockade_audit::record::{
    Act, Apply, Body, Call, Cause, Container, Discard, FileState, FsChange, FsOp, FsOpen, FsOutcome, Leaf, LogPath,
    Mode, NetClose, NetName, NetOpen, NetRefuse, NetReply, NetRequest, Outcome, ProcCall, ProcExec, ProcExit,
    ProcStart, RecorderGrade, RecorderScope, Redact, SecretCanary, SecretRotate, SecretScrub, SecretUse, SessionOpen,
    Undo, Was,
};
use stockade_audit::text::printable;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// In one word.
    pub(super) verb: &'static str,
    /// About what; safe to show.
    pub(super) what: String,
    /// Whether it is to be noticed.
    pub(super) tone: Tone,
}

/// What a log shows beside its records: values behind digests, and names behind addresses.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Values by digest.
    pub(super) openings: HashMap<[u8; 32], Disclosed>,
    /// Names by the synthetic address that was answered for them.
    pub(super) names: HashMap<String, String>,
}

impl Beside {
    /// The words of a command, where their opening is there.
    pub(super) fn argv(&self, disclosed: &[stockade_audit::record::Digest]) -> Option<String> {
        self.value(disclosed, "argv").or_else(|| self.value(disclosed, "args"))
    }

    /// The value of this name among the digests, as text that is safe to show.
    pub(super) fn value(&self, disclosed: &[stockade_audit::record::Digest], name: &str) -> Option<String> {
        let found = disclosed.iter().filter_map(|digest| self.openings.get(&digest.0));
        found.into_iter().find(|value| value.name == name).map(|disclosed| value(&disclosed.value))
    }

    /// An address, with the name that the resolver made it for.
    pub(super) fn address(&self, addr: &str) -> String {
        let named = addr.rsplit_once(':').and_then(|(address, port)| {
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            self.names.get(bare).map(|name| format!("{name}:{port}"))
        });
        printable(&named.map_or_else(|| addr.to_owned(), |named| format!("{named} ({addr})")))
    }

    /// Takes over what a record says of names.
    pub(super) fn learn(&mut self, leaf: &Leaf) {
        if let Body::NetName(name) = &leaf.body
            && let Some(addr) = &name.addr
        {
            self.names.insert(addr.clone(), name.name.clone());
        }
    }
}

/// A value as a shell would take it, safe to show.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => word(bytes),
        Value::List(words) => words.iter().map(word).collect::<Vec<_>>().join(" "),
        Value::Pairs(pairs) => {
            let pair = |(name, value): &(LogPath, LogPath)| format!("{}={}", name.printable(), word(value));
            pairs.iter().map(pair).collect::<Vec<_>>().join(" ")
        }
    }
}

/// One word, quoted where it would not be one.
fn word(bytes: &LogPath) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(byte);
    let text = bytes.printable();
    if !bytes.0.is_empty() && bytes.0.iter().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Says that a path or a word is longer than the record has it.
fn cut_short(cut: Option<u64>) -> &'static str {
    if cut.is_some_and(|cut| cut > 0) { " (cut short)" } else { "" }
}

fn times(times: Option<u64>) -> String {
    times.map_or_else(String::new, |times| format!(" ×{times}"))
}

fn failed(errno_of: Option<i32>) -> String {
    errno_of.filter(|number| *number != 0).map_or_else(String::new, |number| format!(" → {}", errno(number)))
}

/// What a record says.
pub(super) fn say(leaf: &Leaf, beside: &Beside) -> Said {
    let own = |text: &str| printable(text);
    let (verb, what) = match &leaf.body {
        Body::SessionOpen(open) => ("opened", opened(open)),
        Body::SessionClose(close) => ("closed", format!("{}, {} lost", ending(close.cause, close.status), close.lost)),
        Body::Call(call) => ("asks", called(call, leaf, beside)),
        Body::Permit(permit) => ("permitted", format!("by {}", list(&permit.rules))),
        Body::Deny(deny) => ("DENIED", format!("{}: {}", own(&deny.rule), own(&deny.reason))),
        Body::Outcome(outcome) => ("result", result(outcome)),
        Body::ProcStart(start) => ("starts", started(start)),
        Body::ProcExec(exec) => ("executes", executed(exec, leaf, beside)),
        Body::ProcCall(call) => ("calls", asked_of_kernel(call)),
        Body::ProcExit(exit) => ("exits", exited(exit)),
        Body::Limit(limit) => ("limit", format!("{} is {}, {} used", own(&limit.which), limit.max, limit.seen)),
        Body::FsOpen(open) => ("opens", file_opened(open)),
        Body::FsChange(change) => (operation(change.op), file_changed(change)),
        Body::FsOutcome(outcome) => (change(outcome.op), file_outcome(outcome)),
        Body::Apply(Apply(act)) => ("applies", acted(act)),
        Body::Discard(Discard(act)) => ("discards", acted(act)),
        Body::Undo(Undo(act)) => ("undoes", acted(act)),
        Body::Heartbeat(beat) => ("alive", format!("{} running, {} lost", count(beat.running, "call"), beat.lost)),
        Body::Recovery(left) => ("recovered", format!("{}, {} torn", count(left.size, "record"), bytes(left.dropped))),
        Body::Gap(gap) => ("GAP", format!("{} lost: {}", count(gap.lost, "event"), own(&gap.why))),
        Body::Redact(redact) => ("redacted", redacted(redact)),
        Body::ToolStart(start) => ("runs", tools::started(start)),
        Body::ToolUse(used) => (tools::verb(used.op), tools::used(used)),
        Body::ToolEnd(end) => ("ends", tools::ended(end)),
        Body::NetAsk(ask) => (socket(ask.op), format!("{}{}", beside.address(&ask.addr), times(ask.times))),
        Body::NetName(name) => ("resolves", resolved(name)),
        Body::NetOpen(open) => ("connection", connected(open)),
        Body::NetClose(close) => ("connection", disconnected(close)),
        Body::NetRequest(request) => ("requests", requested(request)),
        Body::NetReply(reply) => ("answer", replied(reply)),
        Body::NetRefuse(refuse) => ("REFUSED", refused(refuse)),
        Body::SecretUse(used) => ("secret", used_secret(used)),
        Body::SecretCanary(canary) => ("CANARY", caught(canary)),
        Body::SecretRotate(rotate) => ("rotated", rotated(rotate)),
        Body::SecretScrub(scrub) => ("scrubbed", scrubbed(scrub)),
        Body::LedgerInit(_) => ("ledger", "made".to_owned()),
        Body::LedgerOpen(open) => ("ledger", format!("session {} opened", open.sid)),
        Body::LedgerBeat(beat) => ("ledger", format!("session {} has {}", beat.sid, count(beat.size, "record"))),
        Body::LedgerClose(close) => ("ledger", format!("session {} closed", close.sid)),
        Body::LedgerAfter(after) => ("ledger", format!("session {} was followed up", after.sid)),
    };
    Said { verb, what, tone: tone(&leaf.body) }
}

/// How much a record is to be noticed.
pub(super) fn tone(body: &Body) -> Tone {
    match body {
        Body::Deny(_) | Body::Limit(_) | Body::Gap(_) | Body::NetRefuse(_) | Body::SecretCanary(_) => Tone::Bad,
        Body::ProcCall(call) if call.errno.is_some() => Tone::Bad,
        Body::ProcExit(exit) if exit.status != 0 => Tone::Notice,
        Body::Outcome(outcome) if outcome.status != 0 => Tone::Notice,
        Body::ToolUse(used) if used.errno.is_some() => Tone::Notice,
        Body::ToolEnd(end) if end.cause != Cause::Exit || end.status != 0 => Tone::Notice,
        Body::FsOutcome(_) | Body::SecretUse(_) | Body::Apply(_) | Body::Undo(_) | Body::Redact(_) => Tone::Notice,
        Body::Heartbeat(_) => Tone::Faint,
        Body::SessionOpen(_)
        | Body::SessionClose(_)
        | Body::Call(_)
        | Body::Permit(_)
        | Body::Outcome(_)
        | Body::ProcStart(_)
        | Body::ProcExec(_)
        | Body::ProcCall(_)
        | Body::ProcExit(_)
        | Body::FsOpen(_)
        | Body::FsChange(_)
        | Body::ToolStart(_)
        | Body::ToolUse(_)
        | Body::ToolEnd(_)
        | Body::Discard(_)
        | Body::Recovery(_)
        | Body::NetAsk(_)
        | Body::NetName(_)
        | Body::NetOpen(_)
        | Body::NetClose(_)
        | Body::NetRequest(_)
        | Body::NetReply(_)
        | Body::SecretRotate(_)
        | Body::SecretScrub(_)
        | Body::LedgerInit(_)
        | Body::LedgerOpen(_)
        | Body::LedgerBeat(_)
        | Body::LedgerClose(_)
        | Body::LedgerAfter(_) => Tone::Strong,
    }
}

fn opened(open: &SessionOpen) -> String {
    let mode = match open.mode {
        Mode::Review => "review",
        Mode::Direct => "direct",
        Mode::Discard => "discard",
    };
    let (profile, wall, grade) = (printable(&open.profile), printable(&open.wall), printable(&open.grade));
    let container = open.container.as_ref();
    let container = container.map_or_else(String::new, |of| format!(", image {}, {}", image(of), said_of(of)));
    let from =
        open.from.as_ref().map_or_else(String::new, |from| format!(", from {}: {} changes", from.sid, from.changes));
    format!("profile {profile}, wall {wall}, grade {grade}, mode {mode}, recorder {}{container}{from}", recorder(open))
}

/// What a container is made of: what was asked for, and what that was.
pub(super) fn image(container: &Container) -> String {
    let found = container.repo_digest.as_ref().map(|digest| format!(", {}", printable(digest))).unwrap_or_default();
    format!("{} (sha256:{}{found})", printable(&container.image), container.image_id)
}

/// What holds a container, and whose processes are in it.
pub(super) fn said_of(container: &Container) -> String {
    let Container { engine, engine_v, rights, runtime, api, uid, gid, .. } = container;
    let (engine, engine_v) = (printable(engine), printable(engine_v));
    let (runtime, api, rights) = (printable(runtime), printable(api), rights.word());
    format!("{engine} {engine_v} ({rights}, interface {api}), runtime {runtime}, user {uid}:{gid}")
}

/// What watches the processes of a session.
pub(super) fn recorder(open: &SessionOpen) -> String {
    let Some(recorder) = &open.recorder else { return "none".to_owned() };
    let grade = match recorder.grade {
        RecorderGrade::OutcomeOnly => "outcome-only",
        RecorderGrade::Trace => "trace",
        RecorderGrade::Notify => "notify",
        RecorderGrade::NotifyAddfd => "notify+addfd",
    };
    let scope = match recorder.scope {
        RecorderScope::Off => "off",
        RecorderScope::Changes => "changes",
        RecorderScope::AllOpens => "all opens",
    };
    let why = if recorder.why.is_empty() { String::new() } else { format!(" ({})", printable(&recorder.why)) };
    format!("{grade}, {scope}{why}")
}

fn result(outcome: &Outcome) -> String {
    let mut said = tools::result(outcome);
    said += &format!(", {} wall, {} cpu", span(outcome.wall_us * 1000), span(outcome.cpu_us * 1000));
    for (name, stream) in [("stdout", outcome.out), ("stderr", outcome.err)] {
        if let Some(stream) = stream.filter(|stream| stream.z > 0) {
            said += &format!(", {} {name}", bytes(stream.z));
        }
    }
    said
}

fn called(call: &Call, leaf: &Leaf, beside: &Beside) -> String {
    let words = beside.argv(&leaf.disclosed).map_or_else(String::new, |argv| format!(": {argv}"));
    format!("{} by {}{words}", printable(&call.tool), printable(&call.via))
}

fn redacted(redact: &Redact) -> String {
    let (field, by) = (printable(&redact.field), printable(&redact.by));
    format!("{field} of record {} by {by}: {}", redact.leaf, printable(&redact.reason))
}

fn started(start: &ProcStart) -> String {
    let maker = start.pp.map_or_else(String::new, |pp| format!(" by p{pp}"));
    format!("pid {}{maker}", start.pid)
}

fn executed(exec: &ProcExec, leaf: &Leaf, beside: &Beside) -> String {
    let path = |path: &Option<LogPath>| path.as_ref().map(LogPath::printable);
    let exe = path(&exec.exe).unwrap_or_else(|| "a program that was not seen".to_owned());
    let asked = path(&exec.asked).map_or_else(String::new, |asked| format!(" (asked for {asked})"));
    let words = beside.argv(&leaf.disclosed).map_or_else(String::new, |argv| format!(": {argv}"));
    format!("{exe}{asked}{words}{}", cut_short(exec.cut))
}

fn asked_of_kernel(call: &ProcCall) -> String {
    let args: Vec<String> =
        call.args.iter().map(|arg| if *arg < 4096 { arg.to_string() } else { format!("{arg:#x}") }).collect();
    format!("{}({}){}{}", printable(&call.call), args.join(", "), failed(call.errno), times(call.times))
}

fn exited(exit: &ProcExit) -> String {
    let failed = exit
        .failed
        .map_or_else(String::new, |failed| format!(", {} that could not be executed", count(failed, "program")));
    let used: String = used(exit).into_iter().map(|used| format!(", {used}")).collect();
    format!("{}{used}{failed}", ending(exit.cause, exit.status))
}

/// Time of the processor and memory, where they were seen.
pub(super) fn used(exit: &ProcExit) -> Vec<String> {
    let cpu = exit.cpu_us.map(|us| format!("{} cpu", span(us.saturating_mul(1000))));
    let peak = exit.rss_kib.map(|kib| format!("{} at most", bytes(kib.saturating_mul(1024))));
    [cpu, peak].into_iter().flatten().collect()
}

fn file_opened(open: &FsOpen) -> String {
    let made = if open.was == Some(Was::Absent) { "  new" } else { "" };
    let (path, fl, cut) = (open.path.printable(), printable(&open.fl), cut_short(open.cut));
    format!("{path}{cut}  {fl}{made}{}{}", failed(open.errno), times(open.times))
}

fn file_changed(change: &FsChange) -> String {
    let value = match (change.op, change.value) {
        (FsOp::Chmod, Some(mode)) => format!("  {mode:04o}"),
        (FsOp::Truncate, Some(length)) => format!("  to {}", bytes(length)),
        (FsOp::Chown, Some(owner)) => format!("  to {}:{}", owner >> 32, owner & 0xffff_ffff),
        (_, _) => String::new(),
    };
    let names = paths(change.op, &change.path, change.to.as_ref());
    format!("{names}{}{value}{}", cut_short(change.cut), times(change.times))
}

/// From what to what.
pub(super) fn file_outcome(outcome: &FsOutcome) -> String {
    let (before, after) = (outcome.b.as_ref().map(state), outcome.a.as_ref().map(state));
    let between = match (before, after) {
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (Some(state), None) | (None, Some(state)) => state,
        (None, None) => String::new(),
    };
    let lines = outcome.lines.map_or_else(String::new, |lines| format!("  +{} −{}", lines.add, lines.del));
    format!("{}  {between}{lines}{}", outcome.path.printable(), mark(outcome.mark))
}

/// A file at one moment, in short.
fn state(state: &FileState) -> String {
    let ty = file_type(state.ty);
    match (&state.to, state.z) {
        (Some(to), _) => format!("{ty} to {}", to.printable()),
        (None, Some(length)) => format!("{} {:04o}", bytes(length), state.mode),
        (None, None) => format!("{ty} {:04o}", state.mode),
    }
}

fn acted(act: &Act) -> String {
    match act {
        Act::Begin(files) => format!("begin, {}", count(*files, "file")),
        Act::File(outcome) => format!("{} {}", change(outcome.op), file_outcome(outcome)),
        Act::End(files) => format!("end, {}", count(*files, "file")),
    }
}

fn resolved(name: &NetName) -> String {
    let addr = name.addr.as_ref().map_or_else(|| "no answer".to_owned(), |addr| printable(addr));
    format!("{} {} → {addr}", printable(&name.name), printable(&name.ty))
}

fn connected(open: &NetOpen) -> String {
    let rules = if open.rules.is_empty() { String::new() } else { format!(", by {}", list(&open.rules)) };
    format!("c{} to {}:{} {}{rules}", open.c, printable(&open.host), open.port, via(open.via))
}

fn disconnected(close: &NetClose) -> String {
    let addr = close.addr.as_ref().map_or_else(String::new, |addr| format!(" at {}", printable(addr)));
    let (up, down, why) = (bytes(close.up), bytes(close.down), printable(&close.why));
    format!("c{} ends{addr}: {up} out, {down} in, {}, {why}", close.c, span(close.us.saturating_mul(1000)))
}

fn requested(request: &NetRequest) -> String {
    let (method, host, path) = (printable(&request.method), printable(&request.host), printable(&request.path));
    format!("r{} {method} {host}:{}{path} by {}", request.r, request.port, list(&request.rules))
}

fn replied(reply: &NetReply) -> String {
    let status = reply.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
    let (up, down, why) = (bytes(reply.up), bytes(reply.down), printable(&reply.why));
    format!("r{} {status}: {up} out, {down} in, {}, {why}", reply.r, span(reply.us.saturating_mul(1000)))
}

fn refused(refuse: &NetRefuse) -> String {
    let port = refuse.port.map_or_else(String::new, |port| format!(":{port}"));
    let method = refuse.method.as_ref().map_or_else(String::new, |method| format!("{} ", printable(method)));
    let path = refuse.path.as_ref().map_or_else(String::new, |path| printable(path));
    let (host, rule, reason) = (printable(&refuse.host), printable(&refuse.rule), printable(&refuse.reason));
    format!("{method}{host}{port}{path}: {rule}: {reason}")
}

fn used_secret(used: &SecretUse) -> String {
    let (name, host, place, rule) =
        (printable(&used.name), printable(&used.host), printable(&used.place), printable(&used.rule));
    format!("{name} (version {}) goes to {host} in {place} of r{} by {rule}", used.v, used.r)
}

fn caught(canary: &SecretCanary) -> String {
    let name = canary.name.as_ref().map_or_else(|| "of no secret of this session".to_owned(), |name| printable(name));
    format!("placeholder {name} in {} for {}", printable(&canary.place), printable(&canary.host))
}

fn rotated(rotate: &SecretRotate) -> String {
    let why =
        rotate.why.as_ref().map_or_else(String::new, |why| format!(", kept by the session alone: {}", printable(why)));
    format!("{} from version {} to {}{why}", printable(&rotate.name), rotate.was, rotate.v)
}

fn scrubbed(scrub: &SecretScrub) -> String {
    let (name, form, place) = (printable(&scrub.name), printable(&scrub.form), printable(&scrub.place));
    format!("{name} as {form} out of {place} ×{}", scrub.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stockade_audit::record::Digest;

    fn leaf(body: impl Into<Body>) -> Leaf {
        let body = body.into();
        let evidence = body.usual_evidence();
        Leaf { n: 1, wall_ns: 0, mono_ns: 0, ago_ns: 0, evidence, call: None, body, disclosed: Vec::new() }
    }

    fn says(body: impl Into<Body>, right: &str) {
        let said = say(&leaf(body), &Beside::default());
        assert_eq!(format!("{} {}", said.verb, said.what), right);
    }

    #[test]
    fn what_a_guest_named_is_said_escaped() {
        let bad = "a\u{1b}]52;c;x\u{7}\u{202e}b".replace("\\u{1b}", "\u{1b}");
        let path = LogPath(bad.clone().into_bytes());
        let open = FsOpen {
            path_h: None,
            p: 1,
            path,
            fl: "W|\u{9b}2J".into(),
            mode: None,
            errno: Some(13),
            ino: None,
            was: None,
            cut: None,
            times: Some(3),
        };
        let refuse = NetRefuse {
            c: None,
            host: bad.clone(),
            port: None,
            method: Some(bad.clone()),
            path: None,
            rule: bad.clone(),
            reason: bad,
        };
        for body in [Body::from(open), Body::from(refuse)] {
            let said = say(&leaf(body), &Beside::default());
            let steers = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
            assert!(!said.what.contains(steers), "{}", said.what);
        }
    }

    #[test]
    fn records_read_as_sentences() {
        says(ProcStart { p: 4, pp: Some(3), pid: 12 }, "starts pid 12 by p3");
        let call = ProcCall { p: 4, call: "ptrace".into(), args: vec![16, 1, 1 << 40], errno: Some(1), times: Some(2) };
        says(call, "calls ptrace(16, 1, 0x10000000000) → EPERM ×2");
        let rename = FsChange {
            path_h: None,
            to_h: None,
            p: 1,
            op: FsOp::Rename,
            path: "a".into(),
            to: Some("b".into()),
            value: None,
            cut: None,
            times: None,
        };
        says(rename, "rename a → b");
        let exec = ProcExec { p: 1, exe: Some("/bin/sh".into()), h: None, asked: Some("./x.sh".into()), cut: None };
        says(exec, "executes /bin/sh (asked for ./x.sh)");
    }

    #[test]
    fn words_of_a_command_are_quoted_where_a_shell_would_need_it() {
        let argv = Value::List(vec!["sh".into(), "-c".into(), "echo 'a b' > x".into(), "".into()]);
        assert_eq!(value(&argv), r"sh -c 'echo '\''a b'\'' > x' ''");
        let mut beside = Beside::default();
        beside.openings.insert([7; 32], Disclosed { name: "argv".into(), value: argv });
        assert!(beside.argv(&[Digest([7; 32])]).is_some_and(|text| text.starts_with("sh -c")));
        assert_eq!(beside.argv(&[Digest([8; 32])]), None);
        beside.names.insert("198.18.0.7".into(), "example.com".into());
        assert_eq!(beside.address("198.18.0.7:443"), "example.com:443 (198.18.0.7:443)");
        assert_eq!(beside.address("[::1]:80"), "[::1]:80");
    }
}
