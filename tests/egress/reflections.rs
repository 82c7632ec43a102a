//! Servers that send the secret back, in every disguise that a server may think of.
//! It never accepts silence for an answer: the rest of each answer has to arrive.

use crate::world::{SECRET, World};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must};

/// What stands in the secret's place.
fn filler() -> String {
    "*".repeat(SECRET.len())
}

pub(crate) fn stories() -> Vec<Story> {
    let curl = |name: &str, arguments: &'static str, also: &'static str| {
        Story::new(format!("reflections::{name}_does_not_bring_the_secret"), move |stage| {
            let script = format!("curl -sS -m 20 -H \"authorization: Bearer $API_KEY\" {arguments}");
            brought(stage, &script, also)
        })
    };
    vec![
        curl("an_echo", "https://good.test/echo", "authorization"),
        curl("an_echo_of_http1", "--http1.1 https://good.test/echo", "authorization"),
        curl("a_header_and_a_cookie", "-i https://good.test/reflect", "x-echo"),
        curl("one_byte_at_a_time", "https://good.test/split", "<"),
        curl("one_byte_at_a_time_of_http1", "--http1.1 https://good.test/split", "<"),
        curl("compression", "--compressed https://good.test/gzip", "rest"),
        curl("compression_that_was_not_asked_for", "https://good.test/gzip | (gzip -dcf 2>/dev/null || cat)", "rest"),
        curl("an_event_stream", "-N https://good.test/sse", "data: 9 tick"),
        curl("a_trailer", "-i -H 'te: trailers' https://good.test/trailers", "grpc-status: 0"),
        curl("a_range", "-r 0-2000 https://good.test/echo", "authorization"),
        curl("an_attached_secret", "https://attach.good.test/echo", "authorization"),
        Story::new("reflections::a_websocket_does_not_bring_the_secret", |stage| brought(stage, WEBSOCKET, "twice")),
        Story::new("reflections::a_websocket_does_not_carry_a_placeholder_out", |stage| {
            let world = World::new(stage)?;
            let script = WEBSOCKET.replace("b\"twice\"", "KEY.encode()");
            world.outside(stage, &script)?.says(&["129, 'control", "136"])?;
            let heard = world.inside(stage, &script)?;
            // The greeting may come, an answer to the message must not.
            must(heard.ended.code() != 0 && heard.ended.out().matches("(129,").count() <= 1, || heard.told())?;
            heard.logged(&[&["secret.canary", "name=\"key\"", "place=\"websocket\""]])
        }),
        Story::new("reflections::a_file_that_was_downloaded_does_not_hold_the_secret", |stage| {
            let script = "curl -sS -H \"authorization: Bearer $API_KEY\" -o kept https://good.test/split; cat kept";
            brought(stage, script, "<")
        }),
    ]
}

/// The control of each: the same answer, unconfined, has the credential that was sent. Inside it was sent, and is gone.
fn brought(stage: &mut Stage, script: &str, also: &str) -> Told {
    let world = World::new(stage)?;
    let control = world.outside(stage, script)?;
    control.says(&[crate::world::CONTROL_KEY, also])?;
    let heard = world.inside(stage, script)?;
    heard.says(&[also])?;
    must(heard.ended.out().contains(&filler()), || format!("not scrubbed in its length: {}", heard.told()))?;
    heard.arrived(&[&format!("Bearer {SECRET}")])?;
    heard.logged(&[&["secret.use", "name=\"key\""], &["secret.scrub", "name=\"key\""], &["net.reply", "status="]])
}

/// A handshake by hand, the greeting with the credential, and a message that comes back.
const WEBSOCKET: &str = r#"cat > ws.py <<'PYTHON'
from client import *
import struct
s = tls("good.test")
fields = ["upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "authorization: Bearer " + KEY]
s.sendall(head("GET", "/ws", "good.test", *fields).replace("connection: close", "connection: upgrade").encode())
def exactly(n):
    got = b""
    while len(got) < n:
        part = s.recv(n - len(got))
        assert part, got
        got += part
    return got
answer = b""
while not answer.endswith(b"\r\n\r\n"):
    answer += exactly(1)
print(answer.decode())
def frame():
    opcode, length = exactly(2)
    return opcode, exactly(length).decode("latin-1")
print(frame())
mask = b"\1\2\3\4"
def send(opcode, text):
    s.sendall(bytes([opcode, 0x80 | len(text)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
send(0x81, b"twice")
print(frame())
send(0x88, struct.pack("!H", 1000))
print(frame()[0])
PYTHON
python3 ws.py"#;
