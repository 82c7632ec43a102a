//! Floods and stalls, from inside and from an upstream: each ends with a reason in the log, in bounded memory, and while it
//! lasts another connection of the same session is answered as ever.
//! It never takes a refusal for enough: what is legal and heavy passes, and says so.

use crate::world::World;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Child;
use std::time::{Duration, Instant};
use stockade_tests::process::kill_group;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

/// Most memory of ours at any time, KiB: what each of the attacks would take, were it let, is many times that.
const PEAK_KIB_MAX: u64 = 160 * 1024;
/// Longest time for one of them.
const PATIENCE: Duration = Duration::from_secs(150);
/// Least requests that another connection has answered meanwhile.
const BESIDE_MIN: u64 = 20;

/// The attackers, and the upstream that misbehaves.
const INSIDE: &str = include_str!("inside/floods.py");
const HOSTILE: &str = include_str!("hostile.py");

/// A host without TLS, which is where the hostile upstream is.
pub(crate) const GRANT: &str = r#"
[[grant.net]]
host = "hostile.test"
ports = [80]
methods = ["GET", "POST"]
resolve = ["127.0.0.1:{hostile}"]
reason = "an upstream that misbehaves"
"#;

/// What somebody does, what it says of that, and what the log must have, each within one record.
struct Flood {
    name: &'static str,
    /// A function of the attackers.
    by: &'static str,
    /// A function of the upstream; none is a good one.
    upstream: Option<&'static str>,
    says: &'static [&'static str],
    log: &'static [&'static [&'static str]],
}

const fn inside(
    name: &'static str,
    by: &'static str,
    says: &'static [&'static str],
    log: &'static [&'static [&'static str]],
) -> Flood {
    Flood { name, by, upstream: None, says, log }
}

const fn outside(
    name: &'static str,
    (by, upstream): (&'static str, &'static str),
    says: &'static [&'static str],
    log: &'static [&'static [&'static str]],
) -> Flood {
    Flood { name, by, upstream: Some(upstream), says, log }
}

const FLOOD: &[&[&str]] = &[&["net.refuse", "\"rule\":\"malformed\"", "a flood of http/2 frames without content"]];

/// From inside.
const FLOODS: &[Flood] = &[
    inside("streams_that_are_reset_at_once", "rapid_reset", &["ended"], &[&["net.refuse", "\"rule\":\"malformed\""]]),
    inside("streams_that_we_have_to_reset", "made_you_reset", &["ended"], &[&["net.refuse", "\"rule\":\"malformed\""]]),
    inside("continuations", "continuation", &["ended"], &[&["net.refuse", "\"rule\":\"malformed\""]]),
    inside("empty_continuations", "empty_continuation", &["ended"], &[&["net.refuse", "\"rule\":\"malformed\""]]),
    inside("settings", "settings", &["ended"], FLOOD),
    inside("pings", "pings", &["ended"], FLOOD),
    inside("pings_whose_answers_are_not_read", "pings_unread", &["ended"], &[&["net.refuse"]]),
    inside("priorities", "priorities", &["ended"], FLOOD),
    inside("frames_of_no_known_kind", "unknown", &["ended"], FLOOD),
    inside("empty_data", "empty_data", &["ended"], &[&["net.refuse", "\"rule\":\"malformed\""]]),
    inside("fields_that_expand", "bomb", &["ended"], &[&["net.refuse", "\"rule\":\"malformed\""]]),
    inside("a_long_list_of_fields", "long_list", &["refused"], &[]),
    inside(
        "streams_that_are_no_requests",
        "malformed",
        &["good True open"],
        &[&["net.refuse", "\"rule\":\"malformed\""]],
    ),
    inside("streams_without_a_window", "zero_window", &["many heads"], &[&["net.reply", "given up before its end"]]),
    inside("slow_heads", "slow_heads", &["ended after"], &[&["net.refuse", "\"rule\":\"slow\"", "within 30 s"]]),
    inside("slow_bodies", "slow_bodies", &["ended"], &[&["net.refuse", "\"rule\":\"slow\"", "owes a body"]]),
    inside("trailers", "endless_trailers", &["400"], &[&["net.refuse", "\"rule\":\"malformed\"", "trailers"]]),
    inside("extensions_of_chunks", "endless_extensions", &["400"], &[&["net.refuse", "4 KiB of extensions"]]),
    inside("a_body_that_expands", "compressed", &["400"], &[&["net.refuse", "\"rule\":\"malformed\""]]),
    inside("names", "names", &["asked 16000"], &[&["net.name", "evil.test"]]),
    inside("open_connections", "connections", &["kept"], &[&["net.refuse", "\"rule\":\"connections\""]]),
    inside("short_connections", "churn", &["churned"], &[&["net.open", "good.test"]]),
];

/// From outside.
const HOSTILITIES: &[Flood] = &[
    outside("a_slow_head", ("hostile_one", "slow_head"), &["502"], &[&["net.reply", "within 60 s"]]),
    outside("interim_answers", ("hostile_one", "interim"), &["502"], &[&["net.reply", "more than 64 interim"]]),
    outside("a_long_head", ("hostile_one", "long_head"), &["502"], &[&["net.reply", "too large"]]),
    outside("trailers", ("hostile_one", "endless_trailers"), &["200"], &[&["net.reply", "trailers"]]),
    outside("extensions_of_chunks", ("hostile_one", "endless_extension"), &["answer"], &[&["net.reply", "extensions"]]),
    outside("a_size_that_overflows", ("hostile_one", "overflowing_chunk"), &["answer"], &[&["net.reply", "overflow"]]),
    outside("a_body_that_is_cut", ("hostile_one", "short_body"), &["200"], &[&["net.reply", "\"status\":200", "end"]]),
    outside("another_protocol", ("hostile_one", "no_http"), &["502"], &[&["net.reply", "invalid http"]]),
    outside("an_upgrade_that_nobody_asked_for", ("hostile_one", "unasked_upgrade"), &["502"], &[&["net.reply"]]),
    inside("an_answer_that_expands", "expanding", &["answer"], &[&["net.reply", "\"status\":200", "ratio"]]),
    outside("pings", ("hostile_two", "two_pings"), &["502"], &[&["net.reply", "a flood of http/2 frames"]]),
    outside("settings", ("hostile_two", "two_settings"), &["502"], &[&["net.reply", "a flood of http/2 frames"]]),
    outside("empty_data", ("hostile_two", "two_empty"), &["answer"], &[&["net.reply", "excessive load"]]),
    outside("interim_answers_of_http_2", ("hostile_two", "two_interim"), &["502"], &[&["net.reply"]]),
    outside("continuations", ("hostile_two", "two_continuation"), &["502"], &[&["net.reply"]]),
    outside("fields_that_expand", ("hostile_two", "two_bomb"), &["502"], &[&["net.reply"]]),
    outside("promises", ("hostile_two", "two_push"), &["502"], &[&["net.reply"]]),
    outside("resets", ("hostile_two", "two_resets"), &["502"], &[&["net.reply"]]),
    outside("a_stall", ("hostile_upload", "two_stall"), &["answer"], &[&["net.reply", "connection error"]]),
];

/// What must pass.
const LEGAL: &[Flood] = &[
    inside("much_of_everything", "legal", &["streams True", "open", "'50'"], &[]),
    outside("an_answer", ("hostile_one", "good"), &["good"], &[&["net.reply", "\"why\":\"done\""]]),
    outside("some_interim_answers", ("hostile_one", "some_interim"), &["good"], &[&["net.reply", "\"why\":\"done\""]]),
    outside("an_answer_of_http_2", ("hostile_two", "two_good"), &["good"], &[&["net.reply", "\"why\":\"done\""]]),
];

pub(crate) fn stories() -> Vec<Story> {
    let groups = [
        ("floods::a_flood_of", "does_not_touch_another_connection", FLOODS),
        ("floods::an_upstream_with", "does_not_touch_another_connection", HOSTILITIES),
        ("floods::a_legal_load_is_not_refused", "", LEGAL),
    ];
    let told = groups.into_iter().flat_map(|(before, after, floods)| {
        floods.iter().map(move |flood| {
            let name = format!("{before}_{}_{after}", flood.name);
            Story::new(name.trim_end_matches('_'), move |stage| tell(stage, flood))
        })
    });
    told.collect()
}

fn tell(stage: &mut Stage, flood: &Flood) -> Told {
    let _hostile = Hostile::start(stage, flood.upstream.unwrap_or("good"))?;
    let world = World::with(stage, |profile| format!("{profile}{GRANT}"))?;
    stage.scene.file("{ws}/floods.py", INSIDE)?;
    let heard = watched(stage, &world, &format!("export PYTHONDONTWRITEBYTECODE=1; python3 floods.py {}", flood.by))?;
    let beside = heard.out.lines().find_map(|line| line.strip_prefix("beside "));
    let beside = beside.ok_or_else(|| format!("nothing is said of another connection: {}", heard.told()))?;
    let count: u64 = beside.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default();
    must(count >= BESIDE_MIN && beside.contains(" 0 failed"), || heard.told())?;
    flood
        .says
        .iter()
        .try_for_each(|words| must(heard.out.contains(words), || format!("no {words:?}: {}", heard.told())))?;
    flood.log.iter().try_for_each(|words| {
        let has = heard.log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        must(has, || format!("no record with {words:?}: {}", heard.told()))
    })?;
    for (begin, end) in [("\"net.open\"", "\"net.close\""), ("\"net.request\"", "\"net.reply\"")] {
        let (begun, ended) = (heard.log.matches(begin).count(), heard.log.matches(end).count());
        must(begun == ended, || format!("{begun} of {begin} and {ended} of {end}"))?;
    }
    must(heard.peak_kib > 0 && heard.peak_kib < PEAK_KIB_MAX, || format!("a peak of {} KiB", heard.peak_kib))
}

/// What came of a run.
struct Watched {
    out: String,
    err: String,
    log: String,
    peak_kib: u64,
}

impl Watched {
    fn told(&self) -> String {
        let said = ["\"net.refuse\"", "\"net.close\"", "\"net.reply\""];
        let is_of_it = |line: &&str| said.iter().any(|kind| line.contains(kind)) && !line.contains("\"down\":3,");
        let logged: Vec<&str> = self.log.lines().filter(is_of_it).collect();
        let last = logged.get(logged.len().saturating_sub(12)..).unwrap_or_default().join("\n");
        format!("peak {} KiB\n--- stdout\n{}\n--- stderr\n{}\n--- log\n{last}", self.peak_kib, self.out, self.err)
    }
}

/// Runs a script inside, and looks at the memory of the one that holds it there for as long as it lasts.
fn watched(stage: &Stage, world: &World, script: &str) -> Result<Watched, Stop> {
    let words = world.words(script);
    let mut child = stage.program(&[&["{bin}/stockade"], &words[..]].concat()).start()?;
    drop(child.stdin.take());
    let status = format!("/proc/{}/status", child.id());
    let (mut peak_kib, until) = (0, Instant::now() + PATIENCE);
    while child.try_wait()?.is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        peak_kib = line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(peak_kib);
        if Instant::now() > until {
            kill_group(child.id());
            let said = String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned();
            return Err(Stop::Fail(format!("it takes more than {} s: {said}", PATIENCE.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = child.wait_with_output()?;
    let [out, err] = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    must(ended.status.success(), || format!("{}: {out}\n{err}", ended.status))?;
    let verified = stage.stockade(&["verify", "last"])?;
    must(verified.code() == 0 && verified.out().starts_with("PASS"), || verified.told())?;
    let log = stage.answers(0, &["log", "show", "last", "--json"])?.out();
    Ok(Watched { out, err, log, peak_kib })
}

/// The upstream that misbehaves, until it is dropped.
pub(crate) struct Hostile(Child);

impl Hostile {
    pub(crate) fn start(stage: &mut Stage, name: &str) -> Result<Self, Stop> {
        stage.scene.file("{outside}/hostile.py", HOSTILE)?;
        let mut child = stage.program(&["/usr/bin/python3", "-B", "{outside}/hostile.py", name]).start()?;
        let out = child.stdout.take().ok_or_else(|| Stop::Fail("an upstream without output".to_owned()))?;
        let hostile = Self(child);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        must(line.trim().parse::<u16>().is_ok(), || format!("no port but {line:?}"))?;
        stage.scene.name("hostile", line.trim());
        Ok(hostile)
    }

    /// Ends it, and gives the first lines of the requests that it saw.
    pub(crate) fn finish(mut self) -> Result<String, Stop> {
        drop(self.0.stdin.take());
        let mut seen = String::new();
        if let Some(mut told) = self.0.stderr.take() {
            told.read_to_string(&mut seen)?;
        }
        Ok(seen)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        kill_group(self.0.id());
    }
}
