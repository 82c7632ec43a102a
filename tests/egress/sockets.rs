//! Sockets of tools: by grant, each connection judged, filled, scrubbed and recorded as a command's.
//! It never has a component of its own language: its client is that of the standard library.

use crate::tools::Heard;
use crate::world::{SECRET, World};
use serde_json::{Value, json};
use std::io::Read as _;
use std::net::TcpStream;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("sockets::a_tool_connects_where_it_is_granted_and_both_accounts_say_so", granted),
        Story::new("sockets::without_the_grant_a_tool_has_no_socket", ungranted),
        Story::new("sockets::a_component_that_does_not_ask_gets_no_socket", unasked),
        Story::new("sockets::a_socket_does_not_reach_the_hosts_loopback_nor_a_metadata_service", addresses),
        Story::new("sockets::a_placeholder_on_a_socket_is_treated_as_a_commands", secret),
        Story::new("sockets::nobody_listens_and_nobody_sends_datagrams", inward),
        Story::new("sockets::a_thousand_connections_meet_the_limit_and_break_nothing", many),
        Story::new("sockets::a_tool_that_ends_with_open_sockets_leaves_nothing", left),
        Story::new("sockets::whoever_is_not_there_is_told_apart_from_whoever_may_not_be_reached", absent),
        Story::new("sockets::inspecting_shows_both_sides_of_sockets", inspected),
    ]
}

const DIAL: &[u8] = include_bytes!("../../tools-wasm/guests/dial.wasm");

/// The grant, with more keys of it.
fn tool(more: &str) -> String {
    format!(
        "[[tool]]\nname = \"dial\"\nfile = \"{{root}}/dial.wasm\"\nreason = \"a client\"\n\
         [[grant.tool]]\nname = \"dial\"\n{more}reason = \"it connects\"\n"
    )
}

/// The usual world, with the component in it.
fn world(stage: &mut Stage, component: &[u8], more: &str) -> Result<World, Stop> {
    stage.scene.file_with_mode("{root}/dial.wasm", "", 0o600)?;
    std::fs::write(stage.scene.path("{root}/dial.wasm"), component)?;
    let tool = tool(more);
    World::with(stage, |profile| profile + &tool)
}

/// Has the component take these steps, one call after the other.
fn dial(stage: &Stage, world: &World, calls: &[&[Value]]) -> Result<Heard, Stop> {
    let calls: Vec<Value> = calls
        .iter()
        .map(|steps| serde_json::from_str(&stage.scene.fill(&json!({ "steps": steps }).to_string())))
        .collect::<Result<_, _>>()
        .map_err(|error| Stop::Fail(error.to_string()))?;
    Heard::of_tool(stage, world.profile(), "dial", &calls)
}

/// The lines that a call answered.
fn lines(heard: &Heard, n: usize) -> Vec<String> {
    let text = heard.answers.get(n).and_then(|answer| answer.pointer("/reply/text")).and_then(Value::as_str);
    text.unwrap_or_default().split('\n').map(str::to_owned).collect()
}

/// Fails unless each step said what it begins with.
fn said(heard: &Heard, n: usize, wanted: &[&str]) -> Told {
    let found = lines(heard, n).join("\n");
    // What a step answers may have more lines than one.
    let mut rest = found.as_str();
    for one in wanted {
        let Some(at) = rest.find(one) else {
            return Err(Stop::Fail(format!("no {one:?} in {rest:?}: {}", heard.told())));
        };
        rest = rest.get(at + one.len()..).unwrap_or_default();
    }
    Ok(())
}

/// How many records of a kind there are.
fn count(heard: &Heard, kind: &str) -> usize {
    heard.log.lines().filter(|line| line.split(' ').next() == Some(kind)).count()
}

fn step(what: &str, to: &str) -> Value {
    json!({ "do": what, "to": to })
}

fn talk(to: &str, say: &str) -> Value {
    json!({ "do": "talk", "to": to, "say": say })
}

fn granted(stage: &mut Stage) -> Told {
    let world = world(stage, DIAL, "sockets = true\n")?;
    let steps = [
        step("lookup", "raw.test:2222"),
        talk("raw.test:2222", "ping\n"),
        step("options", "raw.test:2222"),
        json!({ "do": "close", "to": "raw.test:2222", "say": "and away\n" }),
    ];
    let heard = dial(stage, &world, &[&steps])?;
    said(&heard, 0, &["ok: 198.18.1.0", "ok: hello\nping", "ok: ttl 42 from 198.18.0.3 to 198.18.1.0", "ok: gone"])?;
    heard.logged(&[
        &["tool.start", "net=\"sockets\""],
        &["tool.use", "op=\"lookup\"", "host=\"raw.test\""],
        &["tool.use", "op=\"connect\"", "host=\"raw.test\"", "port=2222"],
        &["net.open", "host=\"raw.test\"", "via=\"wasi-tcp\"", "rules="],
        &["tool.use", "op=\"moved\"", "host=\"raw.test\"", "r=11", "w=14"],
        &["net.close", "up=5", "down=11", "why=\"done\""],
        // What was written before a close went out.
        &["net.close", "up=9"],
    ])?;
    must(heard.log.matches("via=\"wasi-tcp\"").count() == 3, || heard.told())?;
    for (words, wanted) in [
        (&["log", "tree", "last"][..], &["raw.test:2222", "sockets"][..]),
        (&["log", "timeline", "last"], &["connects", "by a socket of a tool", "looks up"]),
        (&["log", "export", "last", "--ocsf"], &["raw.test"]),
        (&["log", "report", "last"], &["raw.test"]),
    ] {
        let shown = stage.answers(0, words)?;
        must(wanted.iter().all(|word| shown.out().contains(word)), || format!("{wanted:?}: {}", shown.told()))?;
    }
    Ok(())
}

fn ungranted(stage: &mut Stage) -> Told {
    let world = world(stage, DIAL, "")?;
    let heard = dial(stage, &world, &[&[step("lookup", "raw.test:2222"), step("read", "127.0.0.1:80")]])?;
    said(&heard, 0, &["error", "error: PermissionDenied"])?;
    heard.logged(&[&["tool.start", "net=\"none\""], &["tool.use", "op=\"socket\"", "errno=13"]])?;
    must(!heard.log.contains("net.open") && !heard.log.contains("op=\"connect\""), || heard.told())
}

fn unasked(stage: &mut Stage) -> Told {
    // The same component, whose manifest asks for something else in the same number of bytes.
    let asks = b"\"sockets\":true,";
    let at = DIAL.windows(asks.len()).position(|window| window == asks);
    let at = at.ok_or_else(|| Stop::Fail("the component's manifest does not ask".to_owned()))?;
    let mut quiet = DIAL.to_vec();
    quiet.get_mut(at..at + asks.len()).unwrap_or_default().fill(b' ');
    let world = world(stage, &quiet, "sockets = true\n")?;
    let heard = dial(stage, &world, &[&[step("read", "raw.test:2222")]])?;
    said(&heard, 0, &["error"])?;
    heard.logged(&[&["tool.start", "net=\"none\""], &["tool.use", "op=\"socket\"", "errno=13"]])?;
    must(!heard.log.contains("net.open"), || heard.told())
}

fn addresses(stage: &mut Stage) -> Told {
    let world = world(stage, DIAL, "sockets = true\n")?;
    // The control: it is there, for whoever is on the host.
    let mut greeting = [0; 6];
    TcpStream::connect(stage.scene.fill("127.0.0.1:{raw}"))?.read_exact(&mut greeting)?;
    must(greeting == *b"hello\n", || "the control does not answer".to_owned())?;
    let places = [
        "127.0.0.1:{raw}",
        "[::1]:{raw}",
        "169.254.169.254:80",
        "10.0.0.1:22",
        "198.18.0.1:3128",
        "198.18.0.2:53",
        "198.18.1.7:2222",
        "localhost:{raw}",
        "stranger.test:2222",
        "raw.test:2223",
    ];
    let steps: Vec<Value> = places.iter().map(|place| step("read", place)).collect();
    let heard = dial(stage, &world, &[&steps, &[step("read", "raw.test:2222")]])?;
    said(&heard, 0, &["error: PermissionDenied"; 10])?;
    said(&heard, 1, &["ok: hello"])?;
    heard.logged(&[
        &["net.refuse", "host=\"127.0.0.1\"", "not granted"],
        &["net.refuse", "host=\"169.254.169.254\"", "port=80"],
        &["net.refuse", "host=\"stranger.test\""],
        &["net.refuse", "host=\"raw.test\"", "port=2223"],
        &["net.refuse", "host=\"198.18.1.7\""],
    ])?;
    must(count(&heard, "net.open") == 1, || heard.told())
}

fn secret(stage: &mut Stage) -> Told {
    let world = world(stage, DIAL, "sockets = true\n")?;
    let ask = |field: &str| {
        let head = format!("GET /echo HTTP/1.1\r\nhost: plain.test\r\n{field}\r\nconnection: close\r\n\r\n");
        talk("plain.test:80", &head)
    };
    let steps = [
        ask("authorization: Bearer {API_KEY}"),
        ask("x-other: {API_KEY}"),
        ask("x-other: nothing"),
        talk("plain.test:80", "no request\n"),
    ];
    // Not filled by the stage: the component itself knows what its variable has.
    let heard = Heard::of_tool(stage, world.profile(), "dial", &[json!({ "steps": steps })])?;
    said(&heard, 0, &["ok: HTTP/1.1 403", "sent over TLS alone", "ok: HTTP/1.1 403", "ok: HTTP/1.1 200", "error"])?;
    must(heard.seen.lines().count() == 1 && !heard.seen.contains(SECRET), || heard.told())?;
    heard.logged(&[
        &["net.open", "host=\"plain.test\"", "via=\"wasi-tcp\""],
        &["secret.canary", "host=\"plain.test\"", "header authorization"],
        &["secret.canary", "host=\"plain.test\"", "header x-other"],
        &["net.request", "host=\"plain.test\"", "path=\"/echo\""],
        &["net.reply", "status=200"],
        &["net.refuse", "host=\"plain.test\"", "granted for HTTP requests"],
    ])?;
    // The control: a command hears the same.
    let script = "curl -sS -H \"authorization: Bearer $API_KEY\" http://plain.test/echo";
    let heard = world.inside(stage, script)?;
    heard.says(&["sent over TLS alone"])?;
    heard.logged(&[&["secret.canary", "host=\"plain.test\"", "header authorization"]])
}

fn inward(stage: &mut Stage) -> Told {
    let world = world(stage, DIAL, "sockets = true\n")?;
    let steps = [step("listen", "127.0.0.1:8080"), step("listen", "0.0.0.0:0"), step("udp", "0.0.0.0:0")];
    let heard = dial(stage, &world, &[&steps])?;
    said(&heard, 0, &["error: Unsupported", "error: Unsupported", "error: Unsupported"])?;
    heard.logged(&[&["tool.use", "op=\"socket\"", "errno=95", "times=3"]])
}

fn many(stage: &mut Stage) -> Told {
    let world = world(stage, DIAL, "sockets = true\n")?;
    let hold = json!({ "do": "hold", "to": "raw.test:2222", "times": 1000 });
    let again = json!({ "do": "again", "to": "raw.test:2222", "times": 200 });
    let heard = dial(
        stage,
        &world,
        &[&[hold, step("lookup", "raw.test:2222")], &[talk("raw.test:2222", "still\n")], &[again]],
    )?;
    said(&heard, 0, &["ok: 64 of 1000, then Some", "ok: 198.18.1.0"])?;
    said(&heard, 1, &["ok: hello\nstill"])?;
    said(&heard, 2, &["ok: 200 times"])?;
    heard.logged(&[&["tool.use", "op=\"connect\"", "errno=24", "times="]])?;
    // Each of them was connected to somebody, whatever it said then.
    let closed = heard.log.lines().filter(|line| line.starts_with("net.close "));
    let mut nobody = closed.filter(|line| !line.contains("addr=\"127.0.0.1:"));
    must(nobody.next().is_none(), || heard.told())
}

fn left(stage: &mut Stage) -> Told {
    let world = world(stage, DIAL, "sockets = true\n")?;
    let hold = json!({ "do": "hold", "to": "raw.test:2222", "times": 5 });
    let began = std::time::Instant::now();
    let heard = dial(stage, &world, &[&[hold], &[step("read", "raw.test:2222")]])?;
    said(&heard, 0, &["ok: 5 of 5"])?;
    said(&heard, 1, &["ok: hello"])?;
    must((count(&heard, "net.open"), count(&heard, "net.close")) == (6, 6), || heard.told())?;
    must(began.elapsed().as_secs() < 20, || format!("it took {:?}", began.elapsed()))
}

fn absent(stage: &mut Stage) -> Told {
    // A port of the loopback on which nobody listens any more.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let gone = format!(
        "sockets = true\nreason = \"it connects\"\n[[grant.net]]\nhost = \"gone.test\"\nports = [2222]\n\
         resolve = [\"127.0.0.1:{port}\"]\n"
    );
    let world = world(stage, DIAL, &gone)?;
    let heard = dial(stage, &world, &[&[step("read", "gone.test:2222"), step("read", "gone.test:2223")]])?;
    said(&heard, 0, &["error: ConnectionRefused", "error: PermissionDenied"])?;
    heard.logged(&[&["net.close", "connection refused"], &["net.refuse", "host=\"gone.test\"", "port=2223"]])
}

fn inspected(stage: &mut Stage) -> Told {
    let other = format!("sockets = true\nreason = \"it connects\"\n{}", tool("").replace("\"dial\"", "\"quiet\""));
    // The last reason is the helper's.
    let other = other.strip_suffix("reason = \"it connects\"\n").unwrap_or_default().to_owned();
    let world = world(stage, DIAL, &other)?;
    for (name, given) in [("dial", true), ("quiet", false)] {
        let words = ["tool", "inspect", name, "--json", "--workspace", "{ws}", "--profile", world.profile()];
        let shown = stage.answers(0, &words)?;
        let shown: Value = serde_json::from_str(&shown.out()).map_err(|error| Stop::Fail(error.to_string()))?;
        let of = |pointer: &str| shown.pointer(pointer).and_then(Value::as_bool);
        must((of("/ceiling/sockets"), of("/given/sockets")) == (Some(true), Some(given)), || shown.to_string())?;
    }
    Ok(())
}
