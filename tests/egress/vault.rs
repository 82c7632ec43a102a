//! Secrets from a server that keeps them: a real one (RustyVault, which speaks Vault's API), and some that are evil.
//! It never keeps the value of a story anywhere but in that server, and starts each of them for one story.

use crate::world::{KEEPER, SECRET, World, holds};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stockade_tests::process::kill_group;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

/// Another value, and one more.
const SECOND: &str = "sk-second-9Lw3Hs7Tq1Vb5Xz2Mc8Rk4P";
/// What the second engine of the imitated server has.
const THIRD: &str = "sk-third-6Jf2Nd8Ga4Ye1Uo7Bi3Kw5S";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("vault::a_secret_of_a_server_goes_out_and_does_not_come_back", whole),
        Story::new("vault::a_running_session_does_not_use_what_the_server_replaced_or_took_back", rotated),
        Story::new("vault::a_version_and_a_platforms_token_are_asked_for_as_the_server_wants_them", imitated),
        Story::new("vault::a_server_that_refuses_does_not_start_a_session", refused),
        Story::new("vault::a_server_that_lies_or_hangs_does_not_start_a_session", evil),
        Story::new("vault::a_server_of_another_authority_does_not_get_the_token", tls),
        Story::new("vault::a_credential_in_an_argument_is_not_taken", argument),
    ]
}

const ECHO: &str = "curl -sS -H \"authorization: Bearer $API_KEY\" https://good.test/echo";

/// A real server with nothing in it, unsealed.
struct Real {
    child: Child,
    port: u16,
    root: String,
    key: String,
    ca: Option<String>,
}

impl Real {
    fn start(stage: &Stage) -> Result<Self, Stop> {
        Self::with(stage, "tls_disable = \"true\"", None)
    }

    fn with(stage: &Stage, listener: &str, ca: Option<String>) -> Result<Self, Stop> {
        if stockade_tests::binaries::variable(KEEPER).is_none() {
            return Err(Stop::Skip(format!("no server that keeps secrets: set {KEEPER} to the program rvault")));
        }
        stage.scene.folder("{outside}/keeper")?;
        let port = free_port()?;
        let config = format!(
            "storage \"file\" {{\n  path = \"{{outside}}/keeper\"\n}}\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  {listener}\n}}\n\
             work_dir = \"{{outside}}\"\npid_file = \"{{outside}}/keeper.pid\"\nlog_level = \"error\"\nlog_format = \"{{date}}\"\ndaemon = false\n"
        );
        stage.scene.file("{outside}/keeper.hcl", &config)?;
        let child = stage.program(&["{bin}/rvault", "server", "--config", "{outside}/keeper.hcl"]).start()?;
        let mut real = Self { child, port, root: String::new(), key: String::new(), ca };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            must(Instant::now() < until, || "the server does not listen".to_owned())?;
            std::thread::sleep(Duration::from_millis(20));
        }
        let begun = real.api(stage, "PUT", "sys/init", r#"{"secret_shares":1,"secret_threshold":1}"#)?;
        let text = |at: &str| begun.pointer(at).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        (real.root, real.key) = (text("/root_token"), text("/keys/0"));
        must(!real.root.is_empty() && !real.key.is_empty(), || begun.to_string())?;
        real.unseal(stage)?;
        Ok(real)
    }

    fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    fn unseal(&self, stage: &Stage) -> Told {
        let told = self.api(stage, "PUT", "sys/unseal", &format!(r#"{{"key":"{}"}}"#, self.key))?;
        must(told.pointer("/sealed") == Some(&serde_json::Value::Bool(false)), || told.to_string())
    }

    /// A request with the root token, as an administrator makes it. Nothing of it is in a file or an argument of ours.
    fn api(&self, stage: &Stage, method: &str, path: &str, body: &str) -> Result<serde_json::Value, Stop> {
        let url = format!("{}/v1/{path}", self.url());
        let mut words = vec!["curl", "-sS", "-X", method, "-d", "@-", "-K", "/dev/fd/3", &url];
        let header = format!("header = \"x-vault-token: {}\"\n", self.root);
        // The shell's own text holds neither: both come by standard input.
        let ca = self.ca.clone().unwrap_or_default();
        if self.ca.is_some() {
            words.extend(["--cacert", &ca]);
        }
        let script = "read -r header; exec 3<<<\"$header\"; exec \"$@\"";
        let mut program = stage.program(&[&["/bin/bash", "-c", script, "bash"], &words[..]].concat());
        program.input = format!("{header}{body}").into_bytes();
        let ended = stage.go(&program)?;
        must(ended.code() == 0, || ended.told())?;
        Ok(serde_json::from_str(&ended.out()).unwrap_or(serde_json::Value::Null))
    }

    /// Puts a value in.
    fn put(&self, stage: &Stage, value: &str) -> Told {
        let told = self.api(stage, "POST", "secret/app", &format!(r#"{{"value":"{value}"}}"#))?;
        must(told.is_null(), || told.to_string())
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        kill_group(self.child.id());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> Result<u16, Stop> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Says that the secret of the profile is in a server, in the place of the usual value.
fn from(stage: &Stage, url: &str, words: &[&str]) -> Told {
    stage.answers(0, &["secret", "rm", "key"])?;
    stage.answers(0, &[&["secret", "set", "key", "--from", &format!("vault:{url}"), "--"], words].concat()).map(drop)
}

fn whole(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let real = Real::start(stage)?;
    real.put(stage, SECRET)?;
    // The server's own client sees the same.
    let mut own = stage.program(&["{bin}/rvault", "read", "--address", &real.url(), "secret/app"]);
    own.environment.push(("VAULT_TOKEN".into(), real.root.clone().into()));
    let own = stage.go(&own)?;
    must(own.out().contains(SECRET), || own.told())?;
    stage.environment.push(("KEEPER_TOKEN".into(), real.root.clone().into()));
    from(stage, &real.url(), &["kv=1", "path=app", "token=env:KEEPER_TOKEN"])?;
    let listed = stage.answers(0, &["secret", "list"])?;
    must(listed.out().contains("vault http://127.0.0.1") || listed.out().contains("vault:http://127.0.0.1"), || {
        listed.told()
    })?;
    let heard = world.inside(stage, &format!("{ECHO}; env"))?;
    heard.arrived(&[&format!("Bearer {SECRET}")])?;
    heard.logged(&[&["secret.use", "name=\"key\"", "v=1"], &["secret.scrub", "name=\"key\""]])?;
    must(!heard.ended.out().contains(&real.root), || "the token of the server is inside".to_owned())?;
    // Another value in the server is another value in the next session.
    real.put(stage, SECOND)?;
    let heard = world.inside(stage, ECHO)?;
    heard.arrived(&[&format!("Bearer {SECOND}")])?;
    must(!heard.ended.out().contains(SECOND), || heard.told())?;
    // We are the provider of another program, from the same place.
    let mut provide = stage.program(&["/bin/sh", "-c", "{bin}/stockade secret provide key | cat"]);
    provide.input = br#"{"protocolVersion":1,"provider":"x","ids":["key"]}"#.to_vec();
    let provided = stage.go(&provide)?;
    must(provided.out().contains(SECOND), || provided.told())
}

/// An application that logs in for five seconds at a time, in a session that lasts longer.
fn rotated(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let real = Real::start(stage)?;
    real.put(stage, SECRET)?;
    real.api(stage, "POST", "sys/auth/approle", r#"{"type":"approle"}"#)?;
    let policy = r#"{"policy":"path \"secret/*\" { capabilities = [\"read\"] }"}"#;
    real.api(stage, "POST", "sys/policies/acl/app", policy)?;
    real.api(stage, "POST", "sys/policy/app", policy)?;
    real.api(
        stage,
        "POST",
        "auth/approle/role/web",
        r#"{"token_policies":"app","token_ttl":"5s","token_max_ttl":"5s"}"#,
    )?;
    let text = |told: &serde_json::Value, at: &str| {
        told.pointer(at).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    let role = text(&real.api(stage, "GET", "auth/approle/role/web/role-id", "")?, "/data/role_id");
    let secret = text(&real.api(stage, "POST", "auth/approle/role/web/secret-id", "")?, "/data/secret_id");
    must(!role.is_empty() && !secret.is_empty(), || "no role".to_owned())?;
    stage.scene.file_with_mode("{outside}/secret-id", &format!("{secret}\n"), 0o600)?;
    let (role, file) = (format!("role-id={role}"), stage.scene.fill("secret-id=file:{outside}/secret-id"));
    from(stage, &real.url(), &["kv=1", "path=app", "every=1", &role, &file])?;
    // One request at a time, each when the test says so, until there is no more to say.
    let script = "for n in 1 2 3; do curl -sS https://attach.good.test/echo?$n; echo; read -r; done";
    let words = world.words(script);
    let mut options = vec!["{bin}/stockade", "run"];
    options.extend(&words[1..]);
    let mut child = stage.program(&options).start()?;
    let mut next = child.stdin.take().ok_or_else(|| Stop::Fail("no input".to_owned()))?;
    let acted = (|| -> Told {
        seen(stage, &mut child, "echo?1")?;
        must(stage.text("{up}/requests.jsonl").contains(SECRET), || "the first value did not go out".to_owned())?;
        real.put(stage, SECOND)?;
        // Longer than a token lives: whoever reads after that has logged in anew.
        std::thread::sleep(Duration::from_secs(8));
        next.write_all(b"\n")?;
        seen(stage, &mut child, "echo?2")?;
        must(stage.text("{up}/requests.jsonl").contains(SECOND), || "the second value did not go out".to_owned())?;
        real.api(stage, "DELETE", "secret/app", "")?;
        std::thread::sleep(Duration::from_secs(3));
        Ok(next.write_all(b"\n")?)
    })();
    drop(next);
    let ended = child.wait_with_output()?;
    let told = || format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    acted.map_err(|stop| match stop {
        Stop::Fail(why) => Stop::Fail(format!("{why}\n{}", told())),
        Stop::Skip(why) => Stop::Skip(why),
    })?;
    let out = told();
    must(out.contains("cannot be had any more") && !holds(&ended.stdout) && !out.contains(SECOND), || out.clone())?;
    must(!stage.text("{up}/requests.jsonl").contains("echo?3"), || "a request went out without its secret".to_owned())?;
    let verified = stage.stockade(&["verify", "last"])?;
    must(verified.out().starts_with("PASS"), || verified.told())?;
    let log = stage.answers(0, &["log", "show", "last", "--json"])?.out();
    let rotation = log.lines().find(|line| line.contains("\"secret.rotate\""));
    must(rotation.is_some_and(|line| line.contains("\"kept\":\"source\"")), || log.clone())
}

/// Waits until the servers have seen something.
fn seen(stage: &Stage, child: &mut Child, sign: &str) -> Told {
    let until = Instant::now() + Duration::from_secs(30);
    while !stage.text("{up}/requests.jsonl").contains(sign) {
        must(child.try_wait()?.is_none() && Instant::now() < until, || format!("no {sign:?} arrived"))?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// What the real server cannot do: versions, namespaces, and logging in with a platform's token. Its answers are files.
fn imitated(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let secret = format!(r#"{{"data":{{"data":{{"token":"{THIRD}"}},"metadata":{{"version":7}}}}}}"#);
    stage.scene.file("{up}/www/v1/team/kv/data/web/app", &secret)?;
    let login = r#"{"auth":{"client_token":"token-of-the-platform","lease_duration":3600,"renewable":true}}"#;
    stage.scene.file("{up}/www/v1/auth/kubernetes/login", login)?;
    stage.scene.file_with_mode("{outside}/jwt", "a.platforms.token\n", 0o644)?;
    let jwt = stage.scene.fill("jwt=file:{outside}/jwt");
    let words = ["mount=team/kv", "path=web/app", "field=token", "namespace=ns1/ns2", "role=web", &jwt];
    from(stage, &stage.scene.fill("http://localhost:{http}"), &words)?;
    let heard = world.inside(stage, ECHO)?;
    heard.arrived(&[&format!("Bearer {THIRD}")])?;
    heard.logged(&[&["secret.use", "name=\"key\"", "v=7"]])?;
    heard.arrived(&["POST", "/v1/auth/kubernetes/login", "ns1/ns2"])?;
    heard.arrived(&["GET", "/v1/team/kv/data/web/app", "ns1/ns2", "token-of-the-platform", "x-vault-request"])?;
    must(!heard.ended.out().contains(THIRD), || heard.told())
}

/// Fails unless a session does not begin, and says this and no secret.
fn does_not_begin(stage: &Stage, world: &World, expect: &str) -> Told {
    let ended = stage.stockade(&world.words("echo ran"))?;
    let err = ended.err();
    must(ended.code() != 0 && !ended.out().contains("ran"), || format!("it began: {}", ended.told()))?;
    must(err.contains("secret \"key\"") && err.contains(expect), || format!("no {expect:?} in {}", ended.told()))?;
    must(!holds(&ended.err) && !err.contains(SECOND) && !err.contains("token-of-nobody"), || ended.told())
}

fn refused(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let real = Real::start(stage)?;
    real.put(stage, SECRET)?;
    stage.environment.push(("KEEPER_TOKEN".into(), real.root.clone().into()));
    stage.environment.push(("WRONG_TOKEN".into(), "token-of-nobody".into()));
    let (good, wrong) = ("token=env:KEEPER_TOKEN", "token=env:WRONG_TOKEN");
    for (words, expect) in [
        (&["kv=1", "path=app", wrong][..], "permission denied"),
        (&["kv=1", "path=none", good], "there is nothing"),
        (&["kv=1", "path=app", "field=other", good], "has no field \"other\""),
        (&["kv=1", "path=app", "role-id=r", "secret-id=env:WRONG_TOKEN"], "does not log in"),
        (&["kv=1", "path=app", "token=env:UNSET_TOKEN"], "is not set"),
    ] {
        from(stage, &real.url(), words)?;
        does_not_begin(stage, &world, expect)?;
    }
    real.api(stage, "PUT", "sys/seal", "")?;
    from(stage, &real.url(), &["kv=1", "path=app", good])?;
    does_not_begin(stage, &world, "it is sealed")?;
    real.unseal(stage)?;
    world.inside(stage, ECHO)?.arrived(&[SECRET])?;
    from(stage, &format!("http://127.0.0.1:{}", free_port()?), &["path=app", good])?;
    does_not_begin(stage, &world, "connection refused")
}

/// A server that answers every connection with these bytes, and then holds it or ends it.
struct Evil {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Evil {
    fn start(answer: Vec<u8>, holds_on: bool) -> Result<Self, Stop> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let (port, over) = (listener.local_addr()?.port(), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&over);
        // It ends with its story.
        drop(std::thread::spawn(move || {
            let mut held = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                if let Ok((mut stream, _)) = listener.accept() {
                    let mut request = [0; 4096];
                    drop(stream.set_nonblocking(false).and_then(|()| stream.read(&mut request)));
                    drop(stream.write_all(&answer));
                    if holds_on {
                        held.push(stream);
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }));
        Ok(Self { port, over })
    }
}

impl Drop for Evil {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn evil(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    stage.environment.push(("KEEPER_TOKEN".into(), "token-of-nobody".into()));
    let whole = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let huge =
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n200000\r\n".to_vec(), vec![b'x'; 0x20_0000]].concat();
    let elsewhere = b"HTTP/1.1 307 T\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_vec();
    let echoed = format!("HTTP/1.1 403 F\r\ncontent-length: {}\r\n\r\n{SECOND}", SECOND.len()).into_bytes();
    for (answer, holds_on, expect) in [
        (Vec::new(), true, "gives no whole answer within 10 s"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec(), false, "gives an answer that is broken"),
        (b"SSH-2.0-x\r\n".to_vec(), false, "breaks off"),
        (Vec::new(), false, "breaks off"),
        (huge, true, "or has more than 1 MiB"),
        (elsewhere, false, "it sends us elsewhere"),
        (echoed, false, "permission denied"),
        (whole(SECOND), false, "something else than a secret"),
        (
            whole(&format!("{{\"data\":{{\"data\":{{\"value\":[\"{SECOND}\"]}},\"metadata\":{{\"version\":1}}}}}}")),
            false,
            "has no text in field",
        ),
        (whole(&format!("{{\"data\":{{\"value\":\"{SECOND}\"}}}}")), false, "answers as version 1"),
    ] {
        let server = Evil::start(answer, holds_on)?;
        from(stage, &format!("http://127.0.0.1:{}", server.port), &["path=app", "token=env:KEEPER_TOKEN"])?;
        does_not_begin(stage, &world, expect)?;
    }
    Ok(())
}

fn tls(stage: &mut Stage) -> Told {
    let world = World::new(stage)?;
    let script = "cd {outside} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem \
        -addext basicConstraints=critical,CA:true -addext keyUsage=critical,keyCertSign 2>&1 && \
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=leaf -keyout leaf.key -out leaf.csr 2>&1 && \
        printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:false\n' >ext && \
        openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out leaf.pem 2>&1";
    let made = stage.plain(&["/bin/sh", "-c", script])?;
    must(made.code() == 0, || made.told())?;
    let ca = stage.scene.fill("{outside}/ca.pem");
    let listener = "tls_disable = \"false\"\n  tls_cert_file = \"{outside}/leaf.pem\"\n  tls_key_file = \"{outside}/leaf.key\"\n  tls_disable_client_certs = \"true\"";
    let real = Real::with(stage, listener, Some(ca.clone()))?;
    real.put(stage, SECRET)?;
    stage.environment.push(("KEEPER_TOKEN".into(), real.root.clone().into()));
    let (good, other) = (format!("ca={ca}"), stage.scene.fill("ca={up}/ca.pem"));
    from(stage, &real.url(), &["kv=1", "path=app", "token=env:KEEPER_TOKEN", &good])?;
    world.inside(stage, ECHO)?.arrived(&[SECRET])?;
    for words in
        [&["kv=1", "path=app", "token=env:KEEPER_TOKEN", &other][..], &["kv=1", "path=app", "token=env:KEEPER_TOKEN"]]
    {
        from(stage, &real.url(), words)?;
        does_not_begin(stage, &world, "TLS with \"127.0.0.1\"")?;
    }
    Ok(())
}

fn argument(stage: &mut Stage) -> Told {
    let _world = World::new(stage)?;
    let words =
        ["secret", "set", "other", "--from", "vault:https://vault.test", "--", "path=app", &format!("token={SECOND}")];
    let ended = stage.stockade(&words)?;
    must(ended.code() != 0 && ended.err().contains("never the value itself"), || ended.told())?;
    must(!ended.err().contains(SECOND), || ended.told())
}
