//! Real clients, as a guest has them: each gets through the outlet without knowing of it, and where told of it by its proxy.
//! It never takes a client that is not installed for one that works.

use crate::servers::{need, part};
use crate::world::{SECRET, World, shown};
use std::path::Path;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

/// A client's script, what it says, and what its request is known by at the servers.
struct Client {
    name: &'static str,
    /// Programs that it is made of.
    needs: &'static [&'static str],
    script: &'static str,
    says: &'static [&'static str],
    arrives: &'static [&'static str],
}

const AUTHORIZATION: &str = "Bearer sk-egress-7Qm2vX9rT4bLk8Zp3Wd6Yh1N";

const CLIENTS: &[Client] = &[
    Client {
        name: "curl",
        needs: &["curl"],
        script: "curl -sS -H \"authorization: Bearer $API_KEY\" https://good.test/echo -w '%{http_version}'",
        says: &["HTTP/2.0", "}\n2"],
        arrives: &[AUTHORIZATION],
    },
    Client {
        name: "curl_of_http1",
        needs: &["curl"],
        script: "curl -sS --http1.1 -H \"authorization: Bearer $API_KEY\" https://good.test/echo -w '%{http_version}'",
        says: &["}\n1.1"],
        arrives: &[AUTHORIZATION],
    },
    Client {
        name: "curl_many_at_once",
        needs: &["curl"],
        script: "curl -sS -Z $(for i in $(seq 20); do echo https://good.test/bytes/$i; done) | wc -c",
        says: &["210"],
        arrives: &["/bytes/20"],
    },
    Client {
        name: "curl_uploading",
        needs: &["curl"],
        script: "head -c 5000000 /dev/zero | curl -sS -X POST -T - -H \"authorization: Bearer $API_KEY\" https://good.test/count",
        says: &["5000000"],
        arrives: &[AUTHORIZATION],
    },
    Client {
        name: "curl_posting_json",
        needs: &["curl"],
        script: "curl -sS --json '{\"a\": \"b\\u0041\"}' https://good.test/echo",
        says: &["u0041"],
        arrives: &["application/json"],
    },
    Client {
        name: "curl_of_events",
        needs: &["curl", "python3"],
        script: "curl -sS -N -H \"authorization: Bearer $API_KEY\" https://good.test/sse | python3 -c 'import sys, time\nt = [time.monotonic() for line in sys.stdin.buffer if line.strip()]\nprint(len(t), \"apart\" if t[-1] - t[0] > 0.3 else \"at once\")'",
        says: &["10 apart"],
        arrives: &[AUTHORIZATION],
    },
    Client {
        name: "curl_of_what_is_passed_through",
        needs: &["curl"],
        script: "curl -sS https://echo.test/echo",
        says: &["echo.test"],
        arrives: &["\"sni\":\"echo.test\""],
    },
    Client {
        name: "curl_without_tls",
        needs: &["curl"],
        script: "curl -sS http://plain.test/echo",
        says: &["plain.test"],
        arrives: &["plain.test"],
    },
    Client {
        name: "curl_through_the_proxy",
        needs: &["curl"],
        script: "curl -sS -x $PROXY -H \"authorization: Bearer $API_KEY\" https://good.test/echo; curl -sS -x $PROXY http://plain.test/echo",
        says: &["plain.test"],
        arrives: &[AUTHORIZATION],
    },
    Client {
        name: "curl_through_socks",
        needs: &["curl"],
        script: "for k in socks5h socks4a; do curl -sS -x $k${PROXY#http} -H \"authorization: Bearer $API_KEY\" https://good.test/echo; done; curl -sS -x socks5h${PROXY#http} https://echo.test/echo",
        says: &["good.test", "echo.test"],
        arrives: &[AUTHORIZATION],
    },
    Client {
        name: "curl_with_an_attached_secret",
        needs: &["curl"],
        script: "curl -sS https://attach.good.test/status/418 -w '%{http_code}'",
        says: &["418"],
        arrives: &[AUTHORIZATION],
    },
    Client {
        name: "python_urllib",
        needs: &["python3"],
        script: "python3 -c 'import os, urllib.request as u\nprint(u.urlopen(u.Request(\"https://good.test/echo\", headers={\"authorization\": \"Bearer \" + os.environ[\"API_KEY\"]})).read().decode())'",
        says: &["good.test"],
        arrives: &[AUTHORIZATION],
    },
    Client {
        name: "python_through_the_proxy",
        needs: &["python3"],
        script: "export HTTPS_PROXY=$PROXY HTTP_PROXY=$PROXY; python3 -c 'import os, urllib.request as u\nprint(u.urlopen(u.Request(\"https://good.test/echo\", headers={\"authorization\": \"Bearer \" + os.environ[\"API_KEY\"]})).read().decode())'",
        says: &["good.test"],
        arrives: &[AUTHORIZATION],
    },
    Client {
        name: "node_https_and_fetch",
        needs: &["node"],
        script: r#"cat > n.mjs <<'JS'
import https from 'node:https';
const headers = { authorization: 'Bearer ' + process.env.API_KEY };
const answer = await fetch('https://good.test/echo', { headers });
console.log(answer.status, await answer.text());
https.get('https://good.test/bytes/3', { headers }, r => { r.setEncoding('utf8'); r.on('data', d => console.log('https', d)); });
JS
node n.mjs"#,
        says: &["200 {", "https ..."],
        arrives: &[AUTHORIZATION],
    },
    Client {
        name: "openssl",
        needs: &["openssl"],
        script: "printf 'GET /bytes/3 HTTP/1.1\\r\\nhost: good.test\\r\\nconnection: close\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -connect good.test:443 -servername good.test -CAfile \"$SSL_CERT_FILE\" 2>/dev/null",
        says: &["200 OK", "..."],
        arrives: &["/bytes/3"],
    },
    Client {
        name: "a_server_that_speaks_first",
        needs: &[],
        script: "exec 3<>/dev/tcp/raw.test/2222; head -1 <&3; echo back >&3; head -1 <&3",
        says: &["hello\nback\n"],
        arrives: &[],
    },
    Client {
        name: "psql",
        needs: &["psql"],
        // The server is none of its kind; that its first byte arrives is what is wanted.
        script: "psql 'host=raw.test port=2222 user=a dbname=a sslmode=disable connect_timeout=5' -c 'select 1' 2>&1; true",
        says: &["received h"],
        arrives: &[],
    },
    Client {
        name: "ssh",
        needs: &["ssh"],
        script: "grep -m1 hello < <(timeout 30 ssh -v -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -p 2222 raw.test true </dev/null 2>&1)",
        says: &["hello"],
        arrives: &[],
    },
    Client {
        name: "a_hello_of_tls_byte_by_byte",
        needs: &["python3"],
        script: r#"python3 -c '
from client import *
raw, into, out = dial("good.test", 443), ssl.MemoryBIO(), ssl.MemoryBIO()
made = ssl.create_default_context().wrap_bio(into, out, server_hostname="good.test")
while True:
    try:
        made.do_handshake()
        break
    except ssl.SSLWantReadError:
        for byte in out.read():
            raw.sendall(bytes([byte]))
        into.write(raw.recv(65536))
made.write(head("GET", "/bytes/3", "good.test").encode())
raw.sendall(out.read())
got = b""
while b"..." not in got:
    into.write(raw.recv(65536))
    try:
        got += made.read(65536)
    except ssl.SSLWantReadError:
        pass
print(got.decode())'"#,
        says: &["200 OK", "..."],
        arrives: &["/bytes/3"],
    },
    Client {
        name: "a_static_program_by_address",
        needs: &[],
        script: "{bin}/stockade-probe tcp $(getent ahostsv4 raw.test | awk '{print $1; exit}') 2222",
        says: &["succeeded"],
        arrives: &[],
    },
];

pub(crate) fn stories() -> Vec<Story> {
    let table = CLIENTS.iter().map(|client| {
        Story::new(format!("clients::{}_does_not_need_to_be_told", client.name), move |stage| tell(stage, client))
    });
    let others = [
        Story::new("clients::git_does_not_need_to_be_told", git),
        Story::new("clients::pip_does_not_need_to_be_told", pip),
        Story::new("clients::npm_does_not_need_to_be_told", npm),
        Story::new("clients::requests_and_httpx_do_not_need_to_be_told", requests),
        Story::new("clients::java_does_not_need_to_be_told", java),
    ];
    table.chain(others).collect()
}

fn tell(stage: &mut Stage, client: &Client) -> Told {
    need(client.needs)?;
    let world = World::new(stage)?;
    let heard = world.inside(stage, client.script)?;
    heard.says(client.says)?;
    must(client.arrives.is_empty() || !heard.seen.is_empty(), || heard.told())?;
    client.arrives.iter().try_for_each(|word| heard.arrived(&[word]))?;
    let open = heard.log.matches("net.open").count();
    must(open > 0 && heard.log.matches("net.close").count() == open, || heard.told())?;
    must(!heard.log.contains("net.refuse") && !heard.log.contains("secret.canary"), || heard.told())
}

/// Does something on the host, as whoever the stage is for.
fn made(stage: &Stage, script: &str) -> Told {
    let ended = stage.plain(&["/bin/bash", "-ec", script])?;
    must(ended.code() == 0, || ended.told())
}

/// A repository over HTTP as files, once open and once with credentials that the outlet puts in.
fn git(stage: &mut Stage) -> Told {
    need(&["git"])?;
    let world = World::with(stage, |profile| {
        let basic = "place = { basic = \"me\" }\nhosts = [\"attach.good.test\"]\n";
        let (grants, _) = profile.split_once("[[secret]]").unwrap_or_default();
        format!("{grants}[[secret]]\nname = \"key\"\n{basic}reason = \"a password\"\n")
    })?;
    made(
        stage,
        "cd {up}; git init -q -b main a; cd a; echo story > story; git add story; \
         git -c user.name=a -c user.email=a@b.example commit -qm first; cd ..; \
         git clone -q --bare a www/a.git; git -C www/a.git update-server-info; rm -rf a",
    )?;
    let script = "git clone -q https://good.test/a.git one && git clone -q https://attach.good.test/a.git two && cat one/story two/story";
    let heard = world.inside(stage, script)?;
    heard.says(&["story\nstory\n"])?;
    use base64ct::{Base64, Encoding as _};
    heard.arrived(&["attach.good.test", &Base64::encode_string(format!("me:{SECRET}").as_bytes())])
}

fn pip(stage: &mut Stage) -> Told {
    need(&["python3"])?;
    let found = stage.plain(&["python3", "-m", "pip", "--version"])?;
    if found.code() != 0 {
        return Err(Stop::Skip("pip is not installed".to_owned()));
    }
    let world = World::new(stage)?;
    let index = r#"cd {up}/www; mkdir -p simple/egresspackage; python3 - <<'PYTHON'
import zipfile
name = "egresspackage-1.0-py3-none-any.whl"
with zipfile.ZipFile("simple/egresspackage/" + name, "w") as z:
    z.writestr("egresspackage.py", "print('imported')\n")
    z.writestr("egresspackage-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: egresspackage\nVersion: 1.0\n")
    z.writestr("egresspackage-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr("egresspackage-1.0.dist-info/RECORD", "egresspackage.py,,\n")
open("simple/egresspackage/index.html", "w").write('<!doctype html><html><body><a href="%s">%s</a></body></html>' % (name, name))
PYTHON"#;
    made(stage, index)?;
    let script = "python3 -m pip --isolated --disable-pip-version-check install -q --no-cache-dir --no-deps --target lib --index-url https://good.test/simple/ egresspackage && PYTHONPATH=lib python3 -c 'import egresspackage'";
    world.inside(stage, script)?.says(&["imported"])
}

fn npm(stage: &mut Stage) -> Told {
    need(&["npm", "node"])?;
    let world = World::new(stage)?;
    let registry = r#"cd {up}; mkdir -p package www/t; echo '{"name":"egress-package","version":"1.0.0","main":"i.js"}' > package/package.json
echo 'console.log("required")' > package/i.js; tar czf www/t/e.tgz package; rm -r package
sum=$(sha1sum www/t/e.tgz | cut -d' ' -f1)
echo '{"name":"egress-package","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"egress-package","version":"1.0.0","main":"i.js","dist":{"shasum":"'$sum'","tarball":"https://good.test/t/e.tgz"}}}}' > www/egress-package"#;
    made(stage, registry)?;
    let script = "export HOME=$PWD npm_config_cache=$PWD/cache; npm install --no-audit --no-fund --no-update-notifier --registry https://good.test/ egress-package >&2 && node -e 'require(\"egress-package\")'";
    world.inside(stage, script)?.says(&["required"])
}

/// Two libraries that bring their own idea of what to trust.
fn requests(stage: &mut Stage) -> Told {
    need(&["python3"])?;
    part(stage, "python")?;
    let world = World::with(stage, |profile| profile + &shown("{python}"))?;
    let script = r#"export PYTHONPATH={python}; cat > both.py <<'PYTHON'
import os, requests, httpx
headers = {"authorization": "Bearer " + os.environ["API_KEY"]}
print("requests", requests.get("https://good.test/echo?by=requests", headers=headers).status_code)
print("httpx", httpx.get("https://good.test/echo?by=httpx", headers=headers).status_code)
PYTHON
python3 both.py && HTTPS_PROXY=$PROXY python3 both.py"#;
    let heard = world.inside(stage, script)?;
    heard.says(&["requests 200", "httpx 200"])?;
    heard.arrived(&["by=requests", AUTHORIZATION])?;
    heard.arrived(&["by=httpx", AUTHORIZATION])
}

fn java(stage: &mut Stage) -> Told {
    need(&["java"])?;
    if !Path::new("/usr/bin/javac").exists() {
        return Err(Stop::Skip("javac is not installed".to_owned()));
    }
    let world = World::new(stage)?;
    let script = r#"cat > Get.java <<'JAVA'
public class Get {
    public static void main(String[] a) throws Exception {
        System.out.println(new String(new java.net.URL("https://good.test/bytes/3").openStream().readAllBytes()));
    }
}
JAVA
java Get.java"#;
    world.inside(stage, script)?.says(&["..."])
}
