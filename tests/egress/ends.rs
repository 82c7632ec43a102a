//! Connections that end when somebody still has something to say: nothing is sent twice that must not be, nothing is lost
//! that need not be, and an end that is one is not called a fault.
//! It never waits for an end that the servers do not make at once.

use crate::floods::Hostile;
use crate::world::World;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("ends::a_request_is_not_lost_with_a_kept_connection", kept),
        Story::new("ends::a_connection_that_ended_between_requests_is_not_used", between),
        Story::new("ends::a_closed_websocket_is_not_a_fault", websocket),
        Story::new("ends::a_websocket_that_is_cut_is_not_taken_for_closed", cut),
    ]
}

/// Requests on one connection from inside.
const REQUESTS: &str = r#"cat > ask.py <<'PYTHON'
from client import *
import time
s = dial("hostile.test", 80)
def ask(method, path, body=b""):
    s.sendall(("%s %s HTTP/1.1\r\nhost: hostile.test\r\ncontent-length: %d\r\n\r\n" % (method, path, len(body))).encode() + body)
    answer = s.recv(65536)
    print(path, answer[9:12].decode(), flush=True)
    time.sleep(0.2)
PYTHON
"#;

/// The upstream ends each connection without a word when its second request has come. What may come twice is sent again,
/// once; what may not is not, and its sender is told.
fn kept(stage: &mut Stage) -> Told {
    let hostile = Hostile::start(stage, "ends_between")?;
    let world = World::with(stage, |profile| format!("{profile}{}", crate::floods::GRANT))?;
    let script = format!(
        "{REQUESTS}echo 'ask(\"GET\", \"/1\"); ask(\"GET\", \"/2\"); ask(\"GET\", \"/3\"); ask(\"POST\", \"/4\", b\"a\"); \
         ask(\"GET\", \"/5\")' >> ask.py; python3 ask.py"
    );
    let heard = world.inside(stage, &script)?;
    let out = heard.ended.out();
    same(
        "answers",
        out.split_whitespace().collect::<Vec<_>>().join(" "),
        "/1 200 /2 200 /3 200 /4 502 /5 200".to_owned(),
    )?;
    let seen = hostile.finish()?;
    let times = |what: &str| seen.lines().filter(|line| line.contains(what)).count();
    let all = [times("GET /1 "), times("GET /2 "), times("GET /3 "), times("POST /4 "), times("GET /5 ")];
    same("requests that arrived", format!("{all:?}"), "[1, 2, 2, 1, 1]".to_owned())?;
    heard.logged(&[&["net.reply", "why=", "connection closed before message completed"]])
}

/// The upstream ends each connection after its answer, though it said that it would keep it.
fn between(stage: &mut Stage) -> Told {
    let hostile = Hostile::start(stage, "ends_after")?;
    let world = World::with(stage, |profile| format!("{profile}{}", crate::floods::GRANT))?;
    let script =
        format!("{REQUESTS}echo 'for n in range(3): ask(\"POST\", \"/%d\" % n, b\"a\")' >> ask.py; python3 ask.py");
    let heard = world.inside(stage, &script)?;
    let out = heard.ended.out();
    same("answers", out.split_whitespace().collect::<Vec<_>>().join(" "), "/0 200 /1 200 /2 200".to_owned())?;
    let seen = hostile.finish()?;
    must(seen.matches("POST /").count() == 3 && !seen.contains("2 on its connection"), || seen)
}

/// A WebSocket by hand; the servers close theirs without the last words of TLS.
const WEBSOCKET: &str = r#"cat > ws.py <<'PYTHON'
from client import *
def frame(opcode, payload):
    return bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload
s = tls("good.test")
s.sendall(b"GET /ws HTTP/1.1\r\nhost: good.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n")
got = b""
while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < 10:
    got += s.recv(65536)
assert got.startswith(b"HTTP/1.1 101"), got
s.sendall(frame(1, b"x" * 100))
while b"x" * 100 not in got:
    got += s.recv(65536)
PYTHON
"#;

fn websocket(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = format!(
        "{WEBSOCKET}echo 's.sendall(frame(8, b\"\")); print(len(all_of(s)), \"closed\")' >> ws.py; python3 ws.py"
    );
    let heard = world.inside(stage, &script)?;
    heard.says(&["closed"])?;
    // A frame of 100 bytes and one of none, each with a head of 6.
    heard.logged(&[&["net.reply", "status=101", "up=112", "why=\"done\""], &["net.close", "why=\"done\""]])
}

/// The control: the same without the frame that closes it.
fn cut(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = format!(
        "{WEBSOCKET}echo 's.sendall(frame(1, b\"y\")[:3]); s.unwrap; s.close(); print(\"cut\")' >> ws.py; python3 ws.py"
    );
    let heard = world.inside(stage, &script)?;
    heard.says(&["cut"])?;
    let reply = heard.log.lines().find(|line| line.starts_with("net.reply")).unwrap_or_default();
    must(reply.contains("status=101") && !reply.contains("why=\"done\""), || heard.told())
}
