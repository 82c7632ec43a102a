//! `stockade doctor`: what this machine can enforce, layer by layer, the one command that mends what is missing, and which
//! container engines answer.
//! It never changes the machine.

use crate::backend::container::engine::{About, Engine, Ids, Kind, Rights, Sighting};
use crate::cli::args::DoctorArgs;
use crate::cli::image::variables;
use crate::cli::style::{Tone, visible};
use crate::cli::{Context, print, print_json};
use crate::error::Result;
use std::fmt::Write as _;
use stockade_jail::Grade;
use stockade_jail::enforced::State;
use stockade_jail::probe::{self, Finding};

/// The machine reaches the full wall.
const EXIT_FULL: u8 = 0;
/// It reaches less.
const EXIT_LESS: u8 = 1;

/// Examines the machine.
///
/// # Errors
/// Host: standard output fails.
pub(super) fn doctor(args: &DoctorArgs, context: &Context) -> Result<u8> {
    let findings = probe::examine_this_machine();
    let grade = probe::grade(&findings);
    let code = if grade == Grade::Full { EXIT_FULL } else { EXIT_LESS };
    let engines = Engine::survey(&variables(context));
    if args.json {
        let engines: Vec<_> = engines.iter().map(engine_json).collect();
        print_json(&serde_json::json!({ "grade": grade, "findings": findings, "engines": engines }))?;
        return Ok(code);
    }
    let mut out = String::new();
    for finding in &findings {
        shown(finding, context, &mut out);
    }
    let tone = if grade == Grade::Full { Tone::Good } else { Tone::Bad };
    let grade_word = context.colour.paint(tone, &grade.to_string());
    writeln!(out, "\ngrade of a session here: {grade_word}").expect("writing to a String cannot fail");
    // None is needed for that grade: they are for sessions in containers.
    writeln!(out, "\ncontainer engines:").expect("writing to a String cannot fail");
    for sighting in &engines {
        shown_engine(sighting, context, &mut out);
    }
    print(&out)?;
    Ok(code)
}

fn shown_engine(sighting: &Sighting, context: &Context, out: &mut String) {
    let (tone, word, lines) = match &sighting.found {
        Ok(engine) => (Tone::Good, "ok", described(engine.about(), &sighting.by)),
        Err(report) => {
            let hint = report.hint.iter().map(|hint| format!("mend it: {hint}"));
            (Tone::Faint, "none", std::iter::once(report.what.clone()).chain(hint).collect())
        }
    };
    let word = context.colour.paint(tone, &format!("{word:9}"));
    for (place, line) in lines.iter().enumerate() {
        let front = if place == 0 { word.clone() } else { format!("{:9}", "") };
        writeln!(out, "{front} {}", visible(line)).expect("writing to a String cannot fail");
    }
}

fn described(about: &About, by: &str) -> Vec<String> {
    let runtimes: Vec<&str> = about.runtimes.keys().map(String::as_str).collect();
    let mut lines = vec![
        format!("{} {} at \"{}\" ({by}), {}", about.kind, about.version, about.socket.display(), rights(about)),
        format!("runtimes: {} (else {})", runtimes.join(", "), about.default_runtime),
        format!("cgroups {}, images in {}, for {}", about.cgroup_version, about.storage_driver, about.architecture),
    ];
    let closed = about.runtimes.keys().filter(|runtime| about.kind == Kind::Docker && about.closes_sockets(runtime));
    lines.extend(closed.map(|runtime| {
        format!("runtime {runtime}: mend it: no session comes up before \"--host-uds=open\" is among its runtimeArgs")
    }));
    lines
}

fn rights(about: &About) -> &'static str {
    match (about.rights, about.ids) {
        (Rights::Rootless, _) => "rootless",
        (Rights::Rootful, Ids::Host) => "rootful",
        (Rights::Rootful, Ids::Remapped) => "rootful, its users remapped",
    }
}

fn engine_json(sighting: &Sighting) -> serde_json::Value {
    match &sighting.found {
        Ok(engine) => {
            let about = engine.about();
            serde_json::json!({
                "by": sighting.by,
                "socket": sighting.socket,
                "kind": about.kind.to_string(),
                "version": about.version,
                "api_version": about.api_version,
                "rights": rights(about),
                "runtimes": about.runtimes.keys().collect::<Vec<_>>(),
                "default_runtime": about.default_runtime,
                "storage_driver": about.storage_driver,
                "cgroup_version": about.cgroup_version,
                "cgroup_driver": about.cgroup_driver,
                "architecture": about.architecture,
                "security_options": about.security_options,
            })
        }
        Err(report) => serde_json::json!({
            "by": sighting.by, "socket": sighting.socket, "error": report.what, "hint": report.hint,
        }),
    }
}

fn shown(finding: &Finding, context: &Context, out: &mut String) {
    let (tone, word, why) = match &finding.state {
        State::Active => (Tone::Good, "ok", None),
        State::Degraded(why) => (Tone::Notice, "degraded", Some(why)),
        State::Absent(why) => (Tone::Bad, "absent", Some(why)),
    };
    let word = context.colour.paint(tone, &format!("{word:9}"));
    writeln!(out, "{word} {:18} {}", finding.subject.to_string(), finding.detail)
        .expect("writing to a String cannot fail");
    let fix = finding.fix.as_ref().map(|fix| format!("mend it: {fix}"));
    for line in why.into_iter().chain(&fix) {
        writeln!(out, "{:29}{line}", "").expect("writing to a String cannot fail");
    }
}
