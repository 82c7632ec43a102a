//! Names that lead elsewhere the second time they are asked for, before a resolver of the tests' own.
//! It never leaves the network namespace that it makes: what looks like the internet in it is this machine.

use crate::servers::need;
use stockade_tests::binaries;
use stockade_tests::stage::{Stage, run_words};
use stockade_tests::story::{Stop, Story, Told, must};

const NAMES: &str = include_str!("outside/names.py");

/// What each name leads to, question by question.
const ANSWERS: [&str; 7] = [
    "moves.test=93.184.216.34;127.0.0.1",
    "private.test=93.184.216.34;10.9.8.7",
    "metadata.test=93.184.216.34;169.254.169.254",
    "mixed.test=93.184.216.34,127.0.0.1",
    "mapped.test=::ffff:127.0.0.1",
    "six.test=93.184.216.34;::1",
    "stays.test=93.184.216.34",
];

const GRANTS: &str = "extends = [\"shell\"]\n";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("rebinding::a_name_that_moves_inside_does_not_reach_it", moves),
        Story::new("rebinding::one_address_inside_among_others_does_not_pass", mixed),
        Story::new("rebinding::a_connection_does_not_move_with_its_name", pinned),
    ]
}

/// Runs a script inside of a namespace in which a public address, private ones and a resolver are this machine's own; with
/// `confined` it runs inside a sandbox there.
fn run(stage: &mut Stage, script: &str, way: Way) -> Result<(String, String), Stop> {
    need(&["unshare", "ip", "python3", "curl", "setpriv"])?;
    stage.scene.file("{outside}/names.py", NAMES)?;
    stage.scene.file("{outside}/resolv.conf", "nameserver 127.0.0.1\n")?;
    let grants: String = ANSWERS
        .iter()
        .filter_map(|answer| answer.split_once('='))
        .map(|(name, _)| {
            format!("[[grant.net]]\nhost = \"{name}\"\nports = [80]\nmethods = [\"GET\"]\nreason = \"a test\"\n")
        })
        .collect();
    let profile = stage.profile("names", &format!("{GRANTS}{grants}"))?;
    let answers = ANSWERS.map(|answer| format!("'{answer}'")).join(" ");
    let setting = format!(
        "set -e; ip link set lo up; for a in 93.184.216.34 169.254.169.254 10.9.8.7; do ip route add local $a dev lo src 127.0.0.1; done
mount --bind {{outside}}/resolv.conf /etc/resolv.conf
python3 {{outside}}/names.py {answers} > {{outside}}/reached 2>&1 & server=$!
while ! grep -q ready {{outside}}/reached; do kill -0 $server; sleep 0.05; done
set +e; setpriv --inh-caps=-all --ambient-caps=-all \"$@\"; code=$?; kill $server; wait $server 2>/dev/null; exit $code"
    );
    let own: &[&str] =
        if stage.scene.person().is_root() { &[] } else { &["--user", "--map-current-user", "--keep-caps"] };
    let begin = [&["unshare", "--net", "--mount"], own, &["/bin/bash", "-c", &setting, "bash"]].concat();
    let shell = ["/bin/bash", "-c", script];
    let words = match way {
        Way::Confined => [&["{bin}/stockade"], run_words(&["-q", "--profile", &profile], &shell).as_slice()].concat(),
        Way::Free => shell.to_vec(),
    };
    let ended = stage.plain(&[begin, words].concat())?;
    must(ended.code() == 0, || ended.told())?;
    let log = match way {
        Way::Confined => {
            let verified = stage.stockade(&["verify", "last"])?;
            must(verified.code() == 0, || verified.told())?;
            stage.answers(0, &["log", "show", "last", "--json"])?.out()
        }
        Way::Free => String::new(),
    };
    Ok((ended.out(), format!("{log}\n{}", stage.text("{outside}/reached"))))
}

/// Whether a script runs in a sandbox.
#[derive(Clone, Copy)]
enum Way {
    Confined,
    Free,
}

/// Confined it holds, and free it would have succeeded: the names do lead inside.
fn check(stage: &mut Stage, script: &str, free: &[&str], confined: &[&str], reasons: &[&str]) -> Told {
    let (said, reached) = run(stage, script, Way::Free)?;
    must(reached.contains("INSIDE") && free.iter().all(|word| said.contains(word)), || {
        format!("the control: {said}\n{reached}")
    })?;
    if binaries::under_test()?.is_none() {
        return Ok(());
    }
    let (said, log) = run(stage, script, Way::Confined)?;
    must(!log.contains("INSIDE") && !said.contains("INSIDE"), || format!("{said}\n{log}"))?;
    for word in confined {
        must(said.contains(word), || format!("no {word:?} in {said}\n{log}"))?;
    }
    for reason in reasons {
        must(log.contains(reason), || format!("no {reason:?} in {log}"))?;
    }
    Ok(())
}

fn moves(stage: &mut Stage) -> Told {
    let script = "for name in moves private metadata six; do for time in 1 2 3; do curl -s -m 10 http://$name.test/; done; done; true";
    check(
        stage,
        script,
        &["PUBLIC\nINSIDE\nINSIDE"],
        &["PUBLIC\n{", "127.0.0.1, ", "10.9.8.7, ", "169.254.169.254, ", "::1, "],
        &["leads to 127.0.0.1", "leads to 10.9.8.7", "leads to 169.254.169.254", "leads to ::1"],
    )
}

fn mixed(stage: &mut Stage) -> Told {
    let script = "for time in 1 2 3 4; do curl -s -m 10 http://mixed.test/; done; curl -s -m 10 http://mapped.test/; \
        curl -s -m 10 --resolve mixed.test:80:127.0.0.1 http://mixed.test/; true";
    check(stage, script, &[], &["127.0.0.1, "], &["leads to 127.0.0.1", "leads to ::ffff:127.0.0.1"])
}

/// Two requests on one connection: the name has moved meanwhile, the connection has not.
fn pinned(stage: &mut Stage) -> Told {
    let script = "curl -s -m 10 http://moves.test/a http://moves.test/b; curl -s -m 10 http://moves.test/c; curl -s http://stays.test/; true";
    check(
        stage,
        script,
        &["PUBLIC\nPUBLIC\nINSIDE\nPUBLIC"],
        &["PUBLIC\nPUBLIC\n{", "}\nPUBLIC\n"],
        &["leads to 127.0.0.1"],
    )
}
