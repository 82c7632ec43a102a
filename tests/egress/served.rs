//! A server inside that is shown to the host, and asks the outside for what it answers.
//! It never lets the answer bring out what the outside was asked with.

use crate::servers::{Server, need};
use crate::world::{SECRET, World, holds};
use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};
use stockade_tests::shown::get;
use stockade_tests::stage::{Stage, run_words};
use stockade_tests::story::{Stop, Story, Told, must};

const PATIENCE: Duration = Duration::from_secs(30);

const SERVER: &str = r#"import http.server, os, urllib.error, urllib.request
class Page(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_GET(self):
        asked = urllib.request.Request("https://good.test" + self.path, headers={"authorization": "Bearer " + os.environ["API_KEY"]})
        try:
            told = urllib.request.urlopen(asked).read()
        except urllib.error.URLError as error:
            told = str(error).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"inside says " + told)
http.server.ThreadingHTTPServer(("127.0.0.1", 3000), Page).serve_forever()
"#;

pub(crate) fn stories() -> Vec<Story> {
    vec![Story::new("served::a_server_inside_that_uses_the_network_does_not_show_the_secret", both)]
}

fn both(stage: &mut Stage) -> Told {
    need(&["python3"])?;
    let world =
        World::with(stage, |profile| profile + "[[grant.port]]\nport = 3000\nreason = \"a page of the tests\"\n")?;
    stage.scene.file("{ws}/page.py", SERVER)?;
    // Whether there is a binary at all is asked the usual way.
    stage.answers(0, &["--version"])?;
    let words = run_words(&["-q", "--profile", world.profile()], &["python3", "page.py"]);
    let session = Server::of(stage.program(&[&["{bin}/stockade"], &words[..]].concat()).start()?);
    let (port, address) = shown(stage)?;
    let answer = get(&address, "/echo", PATIENCE)?;
    must(answer.contains("inside says {") && answer.contains("Bearer ***"), || answer.clone())?;
    must(!holds(answer.as_bytes()), || format!("the secret came out: {answer}"))?;
    let refused = get(&address, "/%2e%2e/echo", PATIENCE)?;
    must(refused.contains("inside says HTTP Error 4"), || refused.clone())?;
    must(stage.text("{up}/requests.jsonl").contains(SECRET), || "the secret did not arrive".to_owned())?;
    drop((port, session));
    let log = stage.answers(0, &["log", "export", "last", "--jsonl"])?.out();
    for word in [r#""via":"port""#, r#""via":"direct""#, r#""k":"secret.use""#, r#""k":"secret.scrub""#] {
        must(log.contains(word), || format!("no {word} in {log}"))?;
    }
    let count = |what: &str| log.matches(what).count();
    must(count(r#""k":"net.open""#) == count(r#""k":"net.close""#), || log.clone())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

/// `stockade port`, and the address that it prints; tried until the session is there.
fn shown(stage: &Stage) -> Result<(Server, String), Stop> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut child = stage.program(&["{bin}/stockade", "port", "last", "3000"]).start()?;
        let mut line = String::new();
        child.stdout.as_mut().map(|out| BufReader::new(out).read_line(&mut line)).transpose()?;
        let port = Server::of(child);
        if !line.is_empty() {
            return Ok((port, line.trim_end().to_owned()));
        }
        must(Instant::now() < until, || "the session shows no port".to_owned())?;
        std::thread::sleep(Duration::from_millis(50));
    }
}
