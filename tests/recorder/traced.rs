//! The same stories where somebody outside listens already, so that the recorder traces instead; and what is said of it.
//! It never asks the product to trace: the kernel allows one listener, and that is another one here.

use crate::account::{Record, account, on_record, text};
use crate::{omissions, waits, walks, work};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};

/// Takes on a list that allows everything, with a listener, and becomes another program.
const LISTEN: &str = "import ctypes, os, sys\n\
    c = ctypes.CDLL(None)\n\
    class F(ctypes.Structure): _fields_ = [('c', ctypes.c_ushort), ('t', ctypes.c_ubyte), ('f', ctypes.c_ubyte), ('k', ctypes.c_uint)]\n\
    class P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.POINTER(F))]\n\
    f = (F * 1)(F(6, 0, 0, 0x7fff0000))\n\
    c.prctl(38, 1, 0, 0, 0)\n\
    fd = c.syscall(317 if os.uname().machine == 'x86_64' else 277, 1, 8, ctypes.byref(P(1, f)))\n\
    assert fd > 0\n\
    os.set_inheritable(fd, True)\n\
    os.execv(sys.argv[1], sys.argv[1:])\n";

pub(crate) fn stories() -> Vec<Story> {
    let same = [walks::here(), omissions::stories(), waits::stories(), work::stories()];
    // That one is about opens on behalf of the guest.
    let exact = |story: &Story| story.name().ends_with("opened_while_links_are_swapped");
    let mut all: Vec<Story> = same
        .into_iter()
        .flatten()
        .filter(|story| !exact(story))
        .map(|story| story.on("traced", below_a_listener))
        .collect();
    all.extend([
        Story::new("traced::a_recorder_that_traces_is_not_passed_off_as_a_better_one", graded),
        Story::new("traced::a_recorder_that_traces_is_not_used_below_the_floor", floor),
        Story::new("traced::a_recorder_that_is_not_told_of_all_is_not_used", overheard),
    ]);
    all
}

fn below_a_listener(stage: &mut Stage) {
    stage.before = ["/usr/bin/python3", "-c", LISTEN].map(str::to_owned).to_vec();
}

fn graded(stage: &mut Stage) -> Told {
    let plain = on_record(stage, Record::Changes, &["/bin/sh", "-c", "printf x > out"])?;
    let grade = |account: &crate::account::Account| {
        let recorder = account.of("session.open").find_map(|open| open.get("recorder").cloned());
        recorder.map(|recorder| (text(&recorder, "grade"), !text(&recorder, "why").is_empty()))
    };
    same("the control", grade(&plain), Some(("notify+addfd".to_owned(), false)))?;
    below_a_listener(stage);
    let traced = on_record(stage, Record::Changes, &["/bin/sh", "-c", "printf y > out; sh -c 'exit 3'"])?;
    same("the grade", grade(&traced), Some(("trace".to_owned(), true)))?;
    traced.shows(&[&["fs.open observed", "path=\"out\""], &["proc.exec confirmed", "sh"]])?;
    same(
        "exits",
        traced.count("proc.exit", &[("cause", "exit"), ("status", "3")]),
        1 + u64::from(traced.ended.code() == 3),
    )
}

/// What each floor says of a recorder that traces.
fn floor(stage: &mut Stage) -> Told {
    for (floor, enough) in [("outcome-only", true), ("traced", true), ("observed", false), ("performed", false)] {
        let body = format!("extends = [\"shell\"]\nrecord = \"changes\"\nrecord_floor = \"{floor}\"\n");
        let profile = stage.profile(floor, &body)?;
        let words = ["-q", "--profile", &profile];
        stage.before = Vec::new();
        let control = stage.run(&words, &["/bin/echo", "RAN"])?;
        must(control.code() == 0 && control.out() == "RAN\n", || control.told())?;
        below_a_listener(stage);
        let ended = stage.run(&words, &["/bin/echo", "RAN"])?;
        if enough {
            must(ended.code() == 0 && ended.out() == "RAN\n", || ended.told())?;
            account(stage, ended)?;
            continue;
        }
        let said =
            format!("error: records would be \"traced\", and profile \"{floor}\" has record_floor = \"{floor}\": ");
        must(ended.code() == 125 && ended.out.is_empty(), || ended.told())?;
        must(ended.err().starts_with(&said) && ended.err().contains("somebody outside listens"), || ended.told())?;
        must(ended.err().trim_end().ends_with("or accept less with record_floor = \"traced\""), || ended.told())?;
    }
    Ok(())
}

/// A listener outside that is told of a call itself: the kernel tells nobody else of it then.
fn overheard(stage: &mut Stage) -> Told {
    let profile = stage.profile("overheard", "extends = [\"shell\"]\nrecord_floor = \"traced\"\n")?;
    let words = ["-q", "--profile", &profile];
    below_a_listener(stage);
    let control = stage.run(&words, &["/bin/echo", "RAN"])?;
    must(control.code() == 0 && control.out() == "RAN\n", || control.told())?;
    let listening = "f = (F * 4)(F(0x20, 0, 0, 0), F(0x15, 0, 1, 50 if os.uname().machine == 'x86_64' else 201), \
        F(6, 0, 0, 0x7fc00000), F(6, 0, 0, 0x7fff0000))";
    let told = LISTEN.replace("f = (F * 1)(F(6, 0, 0, 0x7fff0000))", listening).replace("P(1, f)", "P(4, f)");
    stage.before = ["/usr/bin/python3", "-c", &told].map(str::to_owned).to_vec();
    let ended = stage.run(&words, &["/bin/echo", "RAN"])?;
    must(ended.code() == 125 && ended.out.is_empty(), || ended.told())?;
    let said = "error: records would be \"outcome-only\", and profile \"overheard\" has record_floor = \"traced\": ";
    must(ended.err().starts_with(said), || ended.told())?;
    must(ended.err().contains("a tracer is not told of what is told outside"), || ended.told())
}
