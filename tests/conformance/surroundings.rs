//! What a command finds around itself: variables, directories, umask, ids.
//! It never depends on the machine's own settings: each test sets what it compares.

use std::collections::BTreeMap;
use stockade_tests::stage::{PATH, Stage, masked};
use stockade_tests::story::{Story, Told, must, same};

/// Variables of the host, most of which nobody inside should see.
const HOST: &[(&str, &str)] = &[
    ("AWS_SECRET_ACCESS_KEY", "host-only"),
    ("GITHUB_TOKEN", "host-only"),
    ("SSH_AUTH_SOCK", "/host-only"),
    ("LD_PRELOAD", ""),
    ("XDG_RUNTIME_DIR", "/host-only"),
    ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/host-only"),
    ("HTTPS_PROXY", "http://host-only"),
    ("MY_OWN", "host-only"),
    ("LANG", "C.UTF-8"),
    ("LC_TIME", "C"),
    ("TERM", "xterm-256color"),
    ("TZ", "UTC"),
    ("NO_COLOR", "1"),
    ("USER", "somebody"),
    ("LOGNAME", "somebody"),
    ("PWD", "/host-only"),
    ("OLDPWD", "/host-only"),
];

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::new("surroundings::variables_of_the_host_do_not_leak", variables),
        Story::new("surroundings::variables_of_a_call_do_not_get_lost", given),
        Story::new("surroundings::a_setting_that_is_none_is_not_guessed", |stage| {
            for wrong in ["A", "=b", "A B=c", ""] {
                let ended = stage.run(&["--env", wrong], &["/bin/true"])?;
                must(ended.code() == 125 && ended.err().starts_with("error: "), || {
                    format!("{wrong:?} {}", ended.told())
                })?;
            }
            Ok(())
        }),
        Story::new("surroundings::the_working_directory_is_not_another", directories),
        Story::new("surroundings::a_working_directory_outside_is_not_entered", outside),
        Story::new("surroundings::the_umask_is_not_another", |stage| {
            umask(stage, &["0022", "0077", "0002", "0027"], &[])
        }),
        Story::new("surroundings::files_are_not_everybodys_to_write_unasked", |stage| {
            umask(stage, &["0000"], &["0002"])
        }),
        Story::new("surroundings::the_home_is_not_the_hosts", home),
        Story::new("surroundings::the_temporary_directory_is_not_the_hosts", temporary),
        Story::new("surroundings::the_guest_is_not_root", identity),
        Story::new("surroundings::guests_do_not_see_other_processes", processes),
        Story::new("surroundings::the_network_is_not_there", network),
    ]
}

fn variables(stage: &mut Stage) -> Told {
    stage.environment = HOST.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let ended = stage.run(&["--quiet"], &["/usr/bin/env"])?;
    same("exit", ended.code(), 0)?;
    let out = ended.out();
    let found: BTreeMap<&str, &str> = out.lines().filter_map(|line| line.split_once('=')).collect();
    must(!out.contains("host-only"), || format!("LEAKED\n{out}"))?;
    let user = found.get("USER").copied().unwrap_or_default();
    let (home, ws) = (stage.scene.fill("{home}"), stage.scene.fill("{ws}"));
    let session = found.get("STOCKADE_SESSION").copied().unwrap_or_default();
    let expected: BTreeMap<&str, &str> = [
        ("HOME", home.as_str()),
        ("LANG", "C.UTF-8"),
        ("LC_TIME", "C"),
        ("LOGNAME", user),
        ("NO_COLOR", "1"),
        ("PATH", PATH),
        ("PWD", ws.as_str()),
        ("STOCKADE_SESSION", session),
        ("TERM", "xterm-256color"),
        ("TMPDIR", "/tmp"),
        ("TZ", "UTC"),
        ("USER", user),
    ]
    .into();
    same("variables", found.clone(), expected)?;
    must(!user.is_empty() && masked(session) == "SESSION", || format!("user {user:?}, session {session:?}"))
}

fn given(stage: &mut Stage) -> Told {
    let options = ["--quiet", "--env", "A=b", "--env", "C=d = e", "--env", "EMPTY=", "--env", "PATH=/usr/bin"];
    let text = "echo \"$A|$C|${EMPTY-unset}|$PATH\"";
    let ended = stage.run(&options, &["/bin/bash", "-c", text])?;
    same("variables", ended.out().as_str(), "b|d = e||/usr/bin\n")
}

fn directories(stage: &mut Stage) -> Told {
    stage.scene.folder("{ws}/sub/deeper")?;
    let pwd = ["/bin/bash", "-c", "pwd; /bin/pwd; echo $PWD"];
    let ws = stage.scene.fill("{ws}");
    for (cwd, expected) in [
        (".", ws.clone()),
        ("sub", format!("{ws}/sub")),
        ("sub/deeper", format!("{ws}/sub/deeper")),
        ("{ws}/sub", format!("{ws}/sub")),
        ("/tmp", "/tmp".to_owned()),
    ] {
        let ended = stage.run(&["--quiet", "--cwd", cwd], &pwd)?;
        same(cwd, ended.out(), format!("{expected}\n").repeat(3))?;
    }
    let missing = stage.run(&["--cwd", "nosuch"], &["/bin/true"])?;
    same("exit", missing.code(), 126)?;
    let told = "stockade: cannot enter the working directory of \"/bin/true\": no such file or directory\n";
    same("stderr", missing.err().as_str(), told)
}

fn outside(stage: &mut Stage) -> Told {
    for cwd in ["/etc", "/", "{hidden}", "..", "{ws}/..", "{home}/.."] {
        let ended = stage.run(&["--cwd", cwd], &["/bin/pwd"])?;
        must(matches!(ended.code(), 125 | 126) && ended.out.is_empty(), || format!("{cwd}: {}", ended.told()))?;
        must(ended.err().starts_with("stockade: "), || format!("{cwd}: without a word: {}", ended.told()))?;
        stage.answers(0, &["verify", "last"])?;
    }
    Ok(())
}

/// Commands start with the caller's mask, or with the one that is named instead.
fn umask(stage: &Stage, callers: &[&str], instead: &[&str]) -> Told {
    for (at, mask) in callers.iter().enumerate() {
        let text = format!("umask {mask}; '{{bin}}/stockade' run {{wall}} -q -w '{{ws}}' -- /bin/bash -c umask");
        let ended = stage.plain(&["/bin/bash", "-c", &stage.scene.fill(&text)])?;
        same("umask", ended.out(), format!("{}\n", instead.get(at).unwrap_or(mask)))?;
    }
    Ok(())
}

fn home(stage: &mut Stage) -> Told {
    stage.scene.file("{home}/.ssh/id", "host's")?;
    let text = "ls -A ~ | grep -c ssh; cat ~/.ssh/id; echo mine > ~/mine && cat ~/mine";
    let ended = stage.run(&["--quiet"], &["/bin/bash", "-c", text])?;
    must(ended.out() == "0\nmine\n", || ended.told())?;
    must(!stage.scene.path("{home}/mine").exists(), || "the host's home was written".to_owned())
}

fn temporary(stage: &mut Stage) -> Told {
    let mark = format!("/tmp/of-the-host{}", stage.scene.fill("{root}").replace('/', "-"));
    std::fs::write(&mark, "host's")?;
    let ended = stage.run(&["--quiet"], &["/bin/bash", "-c", &format!("cat {mark}; echo mine > {mark}; cat {mark}")]);
    let after = std::fs::read_to_string(&mark);
    std::fs::remove_file(&mark)?;
    let ended = ended?;
    must(ended.out() == "mine\n", || ended.told())?;
    same("the host's file", after?.as_str(), "host's")
}

fn identity(stage: &mut Stage) -> Told {
    let text = "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t '";
    let ended = stage.run(&["--quiet"], &["/bin/bash", "-c", text])?;
    let out = ended.out();
    let mut lines = out.lines();
    must(lines.next().is_some_and(|uid| uid != "0"), || format!("the guest is root\n{out}"))?;
    let zero = "0".repeat(16);
    let expected = [format!("CapBnd:{zero}"), format!("CapEff:{zero}"), "NoNewPrivs:1".into(), "Seccomp:2".into()];
    let mut found: Vec<String> = lines.map(str::to_owned).collect();
    found.sort();
    same("status", found, expected.to_vec())
}

fn processes(stage: &mut Stage) -> Told {
    let ended =
        stage.run(&["--quiet"], &["/bin/bash", "-c", "ls -d /proc/[0-9]* | wc -l; echo $$; cat /proc/1/comm"])?;
    let out = ended.out();
    let lines: Vec<&str> = out.lines().collect();
    let [count, own, _] = lines[..] else { return must(false, || ended.told()) };
    let few = |text: &str| text.parse::<u32>().is_ok_and(|number| number < 10);
    must(few(count) && few(own), || ended.told())
}

fn network(stage: &mut Stage) -> Told {
    let text = "ls /sys/class/net 2>/dev/null; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; \
        (exec 3<>/dev/tcp/192.0.2.1/80) 2>/dev/null && echo CONNECTED; getent hosts example.com && echo RESOLVED; true";
    let ended = stage.run(&["--quiet"], &["/bin/bash", "-c", text])?;
    must(ended.out().lines().all(|line| line == "lo"), || ended.told())
}
