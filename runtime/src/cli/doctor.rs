//! `stockade doctor`: what this machine can enforce, layer by layer, and the one command that mends what is missing.
//! It never changes the machine.

use crate::cli::args::DoctorArgs;
use crate::cli::style::Tone;
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
    if args.json {
        print_json(&serde_json::json!({ "grade": grade, "findings": findings }))?;
        return Ok(code);
    }
    let mut out = String::new();
    for finding in &findings {
        shown(finding, context, &mut out);
    }
    let tone = if grade == Grade::Full { Tone::Good } else { Tone::Bad };
    let grade_word = context.colour.paint(tone, &grade.to_string());
    writeln!(out, "\ngrade of a session here: {grade_word}").expect("writing to a String cannot fail");
    print(&out)?;
    Ok(code)
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
