//! A world for one story: servers on the loopback, a profile that grants them, a secret in the store, two ways to them.
//! It never lets a story end before its secret was searched for wherever it must not be.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use stockade_tests::binaries;
use stockade_tests::people::Person;
use stockade_tests::process::{Ended, kill_group};
use stockade_tests::scene::Scene;
use stockade_tests::stage::{Stage, run_words};
use stockade_tests::story::{Stop, Theatre, Told, must};

/// The secret of all stories. It goes in by standard input alone.
pub(crate) const SECRET: &str = "sk-egress-7Qm2vX9rT4bLk8Zp3Wd6Yh1N";
/// Part of every token that the servers give for it.
const TOKEN: &str = "tk-egress-4Hn8sW1cYp6Jx0Gd5Ze3Vu9M";
/// The password of a company's proxy.
pub(crate) const PASSWORD: &str = "pw-egress-3Fk7tB9mRq2Ns5Xa8Lc6Wj0E";
/// What a control sends in the place of a placeholder.
pub(crate) const CONTROL_KEY: &str = "control-key-of-the-unconfined";

/// Variable that names the program of a server that keeps secrets, where there is one.
pub(crate) const KEEPER: &str = "STOCKADE_TEST_VAULT";

/// Longest time for one step.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stories of the outlet: nothing is left afterwards, and the secret is nowhere.
pub(crate) const THEATRE: Theatre = Theatre { stage, afterwards };

/// Hosts, as most stories grant them. `good` swaps, `attach` puts the secret in by itself, `narrow` grants little, `bare`
/// and `evil` are granted and bound to nothing, `echo` is passed through.
const PROFILE: &str = r#"
extends = ["shell"]

[[grant.exec]]
path = "{bin}"
reason = "a static program"

[[grant.net]]
host = "good.test"
ports = [443]
methods = ["GET", "POST"]
paths = ["/**"]
resolve = ["127.0.0.1:{tls}"]
trust = "up/ca.pem"
reason = "a host that the secret is bound to"

[[grant.net]]
host = "attach.good.test"
ports = [443]
methods = ["GET", "POST"]
secret = "key"
resolve = ["127.0.0.1:{tls}"]
trust = "up/ca.pem"
reason = "a host whose requests carry the secret"

[[grant.net]]
host = "narrow.good.test"
ports = [443]
methods = ["GET"]
paths = ["/v1/**"]
resolve = ["127.0.0.1:{tls}"]
trust = "up/ca.pem"
reason = "a host of which little is granted"

[[grant.net]]
host = "evil.test"
ports = [443]
methods = ["GET", "POST"]
resolve = ["127.0.0.1:{tls}"]
trust = "up/ca.pem"
reason = "a host that no secret is bound to"

[[grant.net]]
host = "echo.test"
ports = [443]
resolve = ["127.0.0.1:{tls}"]
trust = "up/ca.pem"
reason = "a host that is passed through"

[[grant.net]]
host = "plain.test"
ports = [80]
methods = ["GET", "POST"]
resolve = ["127.0.0.1:{http}"]
reason = "a host without TLS"

[[grant.net]]
host = "raw.test"
ports = [2222]
resolve = ["127.0.0.1:{raw}"]
reason = "a host that speaks first, and no HTTP"

[[secret]]
name = "key"
env = "API_KEY"
shape = "opaque"
place = { header = "authorization", format = "Bearer {}" }
hosts = ["good.test", "attach.good.test", "plain.test"]
reason = "the key of the tests"
"#;

/// Where the outlet's own listener is, for clients that are told of it.
const PROXY: &str = "http://proxy.stockade.internal:3128";

/// Helpers for scripts inside and outside.
const CLIENT: &str = include_str!("inside/client.py");

/// The grant of a host with HTTP rules, at a port of the loopback.
pub(crate) fn host(name: &str, port: &str, more: &str) -> String {
    format!(
        "[[grant.net]]\nhost = \"{name}\"\nports = [443]\nmethods = [\"GET\", \"POST\", \"PUT\", \"HEAD\"]\n\
         resolve = [\"127.0.0.1:{port}\"]\ntrust = \"up/ca.pem\"\n{more}reason = \"a host of the tests\"\n"
    )
}

/// A directory with programs that are shown inside.
pub(crate) fn shown(path: &str) -> String {
    format!(
        "[[grant.read]]\npath = \"{path}\"\nreason = \"a client's files\"\n\
         [[grant.exec]]\npath = \"{path}\"\nreason = \"a client's programs\"\n"
    )
}

fn stage(person: Person) -> Result<Stage, String> {
    let upstream = Path::new(env!("CARGO_BIN_EXE_stockade-upstream"));
    let probe = Path::new(env!("CARGO_BIN_EXE_stockade-probe"));
    let client = Path::new(env!("CARGO_BIN_EXE_stockade-client"));
    let mut programs = vec![("stockade-upstream", upstream), ("stockade-probe", probe), ("stockade-client", client)];
    let binary = binaries::under_test()?;
    let keeper = binaries::variable(KEEPER).map(PathBuf::from);
    programs.extend(keeper.iter().map(|keeper| ("rvault", keeper.as_path())));
    programs.extend(binary.iter().map(|binary| ("stockade", binary.as_path())));
    let mut scene = Scene::new(person, &programs).map_err(|e| format!("stage: {e}"))?;
    for (name, path) in [("temporary", "{root}/temporary"), ("up", "{root}/up"), ("outside", "{root}/outside")] {
        let path = scene.fill(path);
        scene.folder(&path).map_err(|e| format!("{path}: {e}"))?;
        scene.name(name, &path);
    }
    scene.folder("{up}/www").map_err(|e| format!("www: {e}"))?;
    let temporary = scene.fill("{temporary}");
    let mut stage = Stage::on(scene);
    stage.environment.push(("TMPDIR".into(), temporary.into()));
    stage.patience = PATIENCE;
    Ok(stage)
}

fn afterwards(stage: &Stage) -> Told {
    stage.nothing_left()?;
    let known = ["{up}/requests.jsonl", "{outside}/tinyproxy.conf"].map(|path| stage.scene.path(path));
    let found = traces(&stage.scene.path("{root}"), &known);
    must(found.is_empty(), || format!("the secret is in {found:#?}"))
}

/// Servers, and a profile for them.
pub(crate) struct World {
    child: Child,
    profile: String,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) ended: Ended,
    /// The log, one record per line: its kind, then `member=value` in the members' order. Empty for what ran unconfined.
    pub(crate) log: String,
    /// The requests that the servers saw in it, one per line.
    pub(crate) seen: String,
}

impl Heard {
    pub(crate) fn told(&self) -> String {
        format!("{}\n--- log\n{}\n--- upstream\n{}", self.ended.told(), self.log, self.seen)
    }

    /// Fails unless it ended well and said this.
    pub(crate) fn says(&self, words: &[&str]) -> Told {
        let out = self.ended.out();
        must(self.ended.code() == 0, || self.told())?;
        words.iter().try_for_each(|word| must(out.contains(word), || format!("no {word:?} in {}", self.told())))
    }

    /// Fails unless the log has all of this, each within one line.
    pub(crate) fn logged(&self, lines: &[&[&str]]) -> Told {
        lines.iter().try_for_each(|words| {
            let has = self.log.lines().any(|line| words.iter().all(|word| line.contains(word)));
            must(has, || format!("no record with {words:?} in {}", self.told()))
        })
    }

    /// Fails unless the servers saw this, each within one request.
    pub(crate) fn arrived(&self, words: &[&str]) -> Told {
        let has = self.seen.lines().any(|line| words.iter().all(|word| line.contains(word)));
        must(has, || format!("no request with {words:?} in {}", self.told()))
    }
}

impl World {
    /// Starts the servers, writes the profile, keeps the secret.
    pub(crate) fn new(stage: &mut Stage) -> Result<Self, Stop> {
        Self::with(stage, |profile| profile)
    }

    /// The same, with another profile made from the usual one.
    pub(crate) fn with(stage: &mut Stage, change: impl FnOnce(String) -> String) -> Result<Self, Stop> {
        let mut child = stage.program(&["{bin}/stockade-upstream", "{up}"]).start()?;
        let out = child.stdout.take().ok_or_else(|| Stop::Fail("servers without output".to_owned()))?;
        let mut world = Self { child, profile: String::new() };
        let mut line = String::new();
        world.child.stdin.as_mut().map(|stdin| writeln!(stdin, "{SECRET}")).transpose()?;
        BufReader::new(out).read_line(&mut line)?;
        let ports: serde_json::Value =
            serde_json::from_str(&line).map_err(|e| format!("the servers' ports: {e}: {line}"))?;
        for name in ["tls", "http", "raw"] {
            stage.scene.name(name, &ports.get(name).map(ToString::to_string).unwrap_or_default());
        }
        world.profile = stage.profile("out", &change(PROFILE.to_owned()))?;
        stage.scene.file("{ws}/client.py", CLIENT)?;
        let mapped = "connect-to = \":443:127.0.0.1:{tls}\"\nconnect-to = \":80:127.0.0.1:{http}\"\nconnect-to = \":2222:127.0.0.1:{raw}\"\n";
        stage.scene.file("{outside}/.curlrc", mapped)?;
        keep(stage, "key", SECRET)?;
        Ok(world)
    }

    /// The same servers under another profile.
    pub(crate) fn under(mut self, stage: &Stage, profile: &str) -> Result<Self, Stop> {
        self.profile = stage.profile("out", profile)?;
        Ok(self)
    }

    /// Runs a script inside, and proves its log.
    pub(crate) fn inside(&self, stage: &Stage, script: &str) -> Result<Heard, Stop> {
        self.forget(stage)?;
        let script = stage.scene.fill(&format!("export PROXY={PROXY} PYTHONDONTWRITEBYTECODE=1\n{script}"));
        let words = ["-q", "--profile", self.profile.as_str()];
        let ended = stage.run(&words, &["/bin/bash", "-c", &script])?;
        must(!holds(&ended.out) && !holds(&ended.err), || format!("the secret came out: {}", ended.told()))?;
        let verified = stage.stockade(&["verify", "last"])?;
        must(verified.code() == 0 && verified.out().starts_with("PASS"), || {
            format!("{}{}", verified.told(), ended.told())
        })?;
        let log = stage.answers(0, &["log", "show", "last", "--json"])?.out();
        let log: String = log.lines().map(line).collect();
        Ok(Heard { ended, log, seen: stage.text("{up}/requests.jsonl") })
    }

    /// Runs the same script without a wall; the names lead to the same servers.
    pub(crate) fn outside(&self, stage: &Stage, script: &str) -> Result<Heard, Stop> {
        self.forget(stage)?;
        let mut program = stage.program(&["/bin/bash", "-c", script]);
        let ca = stage.scene.fill("{up}/ca.pem");
        let via = stage.scene.fill("443={tls},80={http},2222={raw}");
        let own = [
            ("API_KEY", CONTROL_KEY),
            ("CURL_HOME", &stage.scene.fill("{outside}")),
            ("CURL_CA_BUNDLE", &ca),
            ("SSL_CERT_FILE", &ca),
            ("VIA", &via),
            ("PYTHONDONTWRITEBYTECODE", "1"),
        ];
        program.environment.extend(own.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        let ended = stage.go(&program)?;
        Ok(Heard { ended, log: String::new(), seen: stage.text("{up}/requests.jsonl") })
    }

    /// Where the profile is.
    pub(crate) fn profile(&self) -> &str {
        &self.profile
    }

    /// The words of a run of this profile.
    pub(crate) fn words<'a>(&'a self, script: &'a str) -> Vec<&'a str> {
        run_words(&["-q", "--profile", &self.profile], &["/bin/bash", "-c", script])
    }

    /// From here on the servers have seen nothing.
    fn forget(&self, stage: &Stage) -> Told {
        let _ = self;
        Ok(fs::File::options().write(true).truncate(true).open(stage.scene.path("{up}/requests.jsonl")).map(drop)?)
    }
}

/// Keeps a secret in the store.
pub(crate) fn keep(stage: &Stage, name: &str, value: &str) -> Told {
    if binaries::under_test()?.is_none() {
        return Ok(());
    }
    let mut set = stage.program(&["{bin}/stockade", "secret", "set", name]);
    set.input = value.into();
    let set = stage.go(&set)?;
    must(set.code() == 0, || set.told())
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                kill_group(self.child.id());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A record as `log show` prints it, in its full length.
pub(crate) fn line(record: &str) -> String {
    let record: serde_json::Value = serde_json::from_str(record).unwrap_or_default();
    let kind = record.get("k").and_then(serde_json::Value::as_str).unwrap_or("?");
    let members = record.get("o").and_then(serde_json::Value::as_object);
    let members = members.into_iter().flatten().map(|(name, value)| format!(" {name}={value}"));
    format!("{kind}{}\n", members.collect::<String>())
}

/// Whether bytes hold the key or a token. The password of a proxy is in its user's environment, where proxies are named.
pub(crate) fn holds_key(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let own = forms_of(PASSWORD);
    forms().iter().filter(|form| !own.contains(form)).any(|form| text.contains(form.as_str()))
}

/// What must be nowhere as it is, in base64 at each alignment, and in hexadecimal.
fn forms() -> &'static [String] {
    static FORMS: OnceLock<Vec<String>> = OnceLock::new();
    FORMS.get_or_init(|| [SECRET, TOKEN, PASSWORD].into_iter().flat_map(forms_of).collect())
}

fn forms_of(secret: &str) -> Vec<String> {
    use base64ct::{Base64Unpadded, Encoding as _};
    use std::fmt::Write as _;
    let mut forms = vec![secret.to_owned()];
    for shift in 0..3 {
        let text = Base64Unpadded::encode_string(&[vec![b'x'; shift].as_slice(), secret.as_bytes()].concat());
        // The first and the last group may hold bits of what is beside the secret.
        forms.push(text.get(4..text.len() - 4).unwrap_or_default().to_owned());
    }
    let mut hex = String::new();
    for byte in secret.bytes() {
        write!(hex, "{byte:02x}").expect("a String takes all");
    }
    forms.push(hex.to_uppercase());
    forms.push(hex);
    forms
}

/// Whether bytes hold the secret in any form.
pub(crate) fn holds(bytes: &[u8]) -> bool {
    // What is no text becomes other characters; the forms are text.
    let text = String::from_utf8_lossy(bytes);
    forms().iter().any(|form| text.contains(form.as_str()))
}

/// The files below a directory that hold the secret in content or name, but for these.
pub(crate) fn traces(directory: &Path, except: &[PathBuf]) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut found = Vec::new();
    for path in fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Ok(data) = path.symlink_metadata() else { continue };
        if data.is_dir() {
            found.extend(traces(&path, except));
        }
        let content =
            if data.is_file() && !except.contains(&path) { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        if holds(&content) || holds(path.as_os_str().as_bytes()) {
            found.push(path);
        }
    }
    found
}
