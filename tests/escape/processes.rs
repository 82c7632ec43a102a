//! Attacks on processes that are not the guest's: a victim on the host, the init of the session, the supervisor.
//! It never aims at a process that the test did not start.

use crate::table::Attack;
use std::time::Duration;
use stockade_tests::stage::Stage;
use stockade_tests::story::{Stop, Story, Told, must};

pub(crate) fn attacks() -> Vec<Attack> {
    [victims(), inits(), supervisors(), identity(), terminals()].concat()
}

/// Attacks that name a process of the host's by its number, and those that name the init of the session. The words
/// hold `{target}` for the number.
const WAYS: &[(&str, &[&str])] = &[
    ("traced", &["trace-attach", "{target}"]),
    ("seized", &["trace-seize", "{target}"]),
    ("read", &["memory-read", "{target}", "{address}"]),
    ("written", &["memory-write", "{target}", "{address}"]),
    ("read_through_its_memory_file", &["memory-file-read", "{target}", "{address}"]),
    ("written_through_its_memory_file", &["memory-file-write", "{target}", "{address}"]),
    ("robbed_of_a_descriptor", &["take-descriptor", "{target}"]),
    ("read_in_its_environment", &["proc-read", "{target}", "environ"]),
    ("read_in_its_map", &["proc-read", "{target}", "maps"]),
    ("read_in_its_auxiliary_vector", &["proc-read", "{target}", "auxv"]),
    ("read_in_its_system_call", &["proc-read", "{target}", "syscall"]),
    ("followed_to_its_root", &["proc-link", "{target}", "root"]),
    ("followed_to_its_directory", &["proc-link", "{target}", "cwd"]),
    ("followed_to_its_program", &["proc-link", "{target}", "exe"]),
    ("followed_to_its_input", &["proc-link", "{target}", "fd/0"]),
    ("compared", &["compare", "{target}"]),
];

/// Attacks on any process of the host's that would be meaningless against one's own init.
const ON_VICTIMS_ONLY: &[(&str, &[&str])] = &[
    ("seen", &["process-visible", "{target}"]),
    ("limited", &["set-limits", "{target}"]),
    ("slowed", &["set-priority", "{target}"]),
    ("bound_to_a_processor", &["set-affinity", "{target}"]),
    ("offered_to_the_killer_of_processes", &["proc-write", "{target}", "oom_score_adj", "1000"]),
];

/// Attacks that end the victim.
const KILLS: &[(&str, &[&str])] = &[
    ("killed", &["kill", "{target}", "9"]),
    ("killed_by_descriptor", &["kill-by-descriptor", "{target}"]),
    ("killed_by_a_queued_signal", &["queue-signal", "{target}"]),
    ("killed_by_an_ordered_signal", &["owner-signal", "{target}"]),
];

const VICTIM: [&str; 2] = ["host-victim", "{canary}"];

fn aimed(words: &[&str], target: &str) -> Vec<String> {
    words.iter().map(|word| word.replace("{target}", target)).collect()
}

fn refs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn victims() -> Vec<Attack> {
    let quiet = WAYS.iter().chain(ON_VICTIMS_ONLY).map(|(name, words)| {
        let attempt = aimed(words, "{pid}");
        Attack::probe("74", format!("a_process_of_the_host_is_not_{name}"), &refs(&attempt))
            .beside(&VICTIM)
            .where_possible()
    });
    let deadly = KILLS.iter().map(|(name, words)| {
        let attempt = aimed(words, "{pid}");
        let attack =
            Attack::probe("33, 74", format!("a_process_of_the_host_is_not_{name}"), &refs(&attempt)).aimed_at(&VICTIM);
        // Ordering a signal for a process that cannot be seen is refused late, or does nothing.
        if name.contains("ordered") { attack.harmless() } else { attack }
    });
    let namespaces = ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"].map(|namespace| {
        Attack::probe(
            "74",
            format!("the_{namespace}_namespace_of_the_host_is_not_joined"),
            &["join-namespace", "{pid}", namespace],
        )
        .beside(&VICTIM)
        .where_possible()
    });
    quiet.chain(deadly).chain(namespaces).collect()
}

/// The init of the session is process 1 inside. The control is a victim of the same user.
fn inits() -> Vec<Attack> {
    WAYS.iter()
        .map(|(name, words)| {
            let (control, attempt) = (aimed(words, "{pid}"), aimed(words, "1"));
            Attack::probe("20, 74", format!("the_init_is_not_{name}"), &refs(&attempt))
                .control(&refs(&control))
                .beside(&VICTIM)
                .where_possible()
        })
        .chain([
            Attack::probe("74", "the_init_is_not_open_to_its_own_user", &["dumpable-init", "1"])
                .control(&["dumpable-init", "{pid}"])
                .beside(&VICTIM),
            Attack::probe("74", "the_init_is_not_killed", &["proc-write", "1", "oom_score_adj", "1000"])
                .control(&["proc-write", "{pid}", "oom_score_adj", "1000"])
                .beside(&VICTIM),
        ])
        .collect()
}

/// The supervisor's environment and arguments hold a secret; nothing inside must show it.
fn supervisors() -> Vec<Attack> {
    vec![
        Attack::probe("75", "the_environment_of_the_supervisor_is_not_inherited", &["environment-holds", "{canary}"])
            .env("SECRET_OF_THE_SUPERVISOR", "{canary}"),
        Attack::probe(
            "75",
            "no_ancestor_shows_the_environment_of_the_supervisor",
            &["find-parent", "SECRET_OF_THE_SUPER"],
        )
        .env("SECRET_OF_THE_SUPERVISOR", "x")
        .launched(&["socket-as-output"]),
        Attack::probe(
            "75, 98",
            "no_process_tells_where_the_state_is",
            &["processes-hold", "{state_head}", "{state_tail}"],
        )
        .env("SECRET_OF_THE_SUPERVISOR", "{state}")
        .beside(&VICTIM),
    ]
}

fn identity() -> Vec<Attack> {
    let id = |name: &str, words: &[&str]| Attack::probe("35", name, words).where_possible();
    vec![
        id("the_guest_does_not_become_root", &["become", "user", "0"]),
        id("the_guest_does_not_become_another_user", &["become", "user", "1"]),
        id("the_guest_does_not_join_the_group_of_root", &["become", "group", "0"]),
        id("the_guest_does_not_join_another_group", &["become", "group", "1"]),
        id("the_guest_does_not_open_files_as_another", &["become", "fs-user", "1"]),
        id("the_guest_does_not_drop_its_groups", &["become", "groups", "0"]),
        id("the_guest_gains_no_capability", &["gain-capabilities"]),
        id("the_guest_may_not_have_core_files", &["limit-above", "4", "0"]),
        id("the_guest_does_not_raise_the_limit_of_descriptors", &["limit-above", "7", "256"]),
        id("the_guest_does_not_raise_the_limit_of_locked_memory", &["limit-above", "8", "8388608"]),
        Attack::probe("85", "a_crash_leaves_no_core", &["crash"]).where_possible(),
        Attack::probe(
            "87",
            "no_layer_is_silently_absent",
            &[
                "status-lacks",
                "NoNewPrivs:1",
                "Seccomp:2",
                "CapInh:0000000000000000",
                "CapPrm:0000000000000000",
                "CapEff:0000000000000000",
                "CapBnd:0000000000000000",
                "CapAmb:0000000000000000",
            ],
        ),
    ]
}

fn terminals() -> Vec<Attack> {
    let terminal =
        |name: &str, words: &[&str]| Attack::probe("79", name, words).launched(&["under-terminal"]).where_possible();
    vec![
        terminal("nothing_is_typed_into_the_terminal", &["type-ahead"]),
        terminal("nothing_is_typed_into_the_terminal_by_high_bits", &["type-ahead-high-bits"]),
        terminal("the_controlling_terminal_is_not_opened", &["controlling-terminal"]),
        terminal("nothing_is_pasted_into_a_console", &["paste-selection"]),
        // With a terminal of its own the guest may type into that one; the person's must stay empty.
        terminal("a_terminal_of_its_own_does_not_lead_to_the_persons", &["type-ahead"]).with_terminal().harmless(),
        terminal("high_bits_do_not_lead_to_the_persons_terminal", &["type-ahead-high-bits"]).with_terminal().harmless(),
    ]
}

pub(crate) fn stories() -> Vec<Story> {
    let leave = |name: &str, words: &'static [&'static str]| {
        Story::new(format!("processes::{name}"), move |stage| outlives(stage, words))
    };
    vec![
        leave("a_daemon_does_not_survive_its_call", &["{bin}/stockade-probe", "daemon", "{ws}/beat", "6"]),
        leave(
            "a_detached_shell_does_not_survive_its_call",
            &[
                "/bin/bash",
                "-c",
                "setsid nohup bash -c 'for i in $(seq 60); do date +%s.%N > {ws}/beat; sleep 0.1; done' </dev/null >/dev/null 2>&1 & sleep 0.4",
            ],
        ),
        Story::new("processes::nothing_is_left_when_the_supervisor_is_killed", supervisor_killed),
        Story::new("processes::a_call_that_ignores_every_signal_is_ended", ignores_signals),
    ]
}

/// Whether something writes to the file within half a second.
fn beats(stage: &Stage) -> bool {
    let look = || std::fs::metadata(stage.scene.path("{ws}/beat")).and_then(|data| data.modified()).ok();
    let before = look();
    std::thread::sleep(Duration::from_millis(500));
    before != look()
}

/// The control outlives its parent; the confined one must not.
fn outlives(stage: &mut Stage, words: &[&str]) -> Told {
    let control = stage.plain(words)?;
    must(stage.exists("{ws}/beat") && beats(stage), || {
        format!("the control left nothing running\n{}", control.told())
    })?;
    // Wait for the control's daemon to end by itself.
    let mut patience = 100;
    while beats(stage) && patience > 0 {
        patience -= 1;
    }
    std::fs::remove_file(stage.scene.path("{ws}/beat"))?;
    let profile = stage.probe_profile("daemon", "")?;
    let confined = stage.run(&["--profile", &profile, "--mode", "direct"], words)?;
    must(stage.exists("{ws}/beat"), || format!("the daemon was not even tried\n{}", confined.told()))?;
    must(!beats(stage), || format!("ESCAPED: a process survived its call\n{}", confined.told()))
}

/// SIGKILL to the supervisor: the sandbox has to end by the kernel's hand.
fn supervisor_killed(stage: &mut Stage) -> Told {
    let profile = stage.probe_profile("killed", "")?;
    stage.scene.file_with_mode(
        "{ws}/loop.sh",
        "for i in $(seq 100); do date +%s.%N > beat; sleep 0.1; done\n",
        0o755,
    )?;
    let wait = "for i in $(seq 100); do [ -e {ws}/beat ] && break; sleep 0.1; done";
    let script = format!(
        "{{bin}}/stockade run {{wall}} --profile {profile} --workspace {{ws}} --mode direct -- bash loop.sh & \
         {wait}; sleep 0.3; kill -KILL $!; wait $!"
    );
    // The control: the same loop, started by a shell that ends, goes on.
    stage.plain(&["/bin/bash", "-c", &format!("bash loop.sh </dev/null >/dev/null 2>&1 & {wait}; kill -KILL $$")])?;
    must(beats(stage), || "the control left nothing running".to_owned())?;
    let mut patience = 100;
    while beats(stage) && patience > 0 {
        patience -= 1;
    }
    std::fs::remove_file(stage.scene.path("{ws}/beat"))?;
    // Asks whether there is a binary under test at all.
    stage.stockade(&["--version"])?;
    let ended = stage.plain(&["/bin/bash", "-c", &script])?;
    must(stage.exists("{ws}/beat"), || format!("the guest never ran\n{}", ended.told()))?;
    must(!beats(stage), || format!("ESCAPED: the guest outlived its supervisor\n{}", ended.told()))
}

fn ignores_signals(stage: &mut Stage) -> Told {
    let profile = stage.probe_profile("patient", "[limits]\nwall_s = 2\n")?;
    let control = stage.plain(&["{bin}/stockade-probe", "ignore-and-wait", "3"])?;
    must(control.code() == 0, || format!("the control did not wait\n{}", control.told()))?;
    let ended = stage.run(&["--profile", &profile], &["{bin}/stockade-probe", "ignore-and-wait", "30"])?;
    must(ended.took < Duration::from_secs(15), || format!("ended after {:?}", ended.took))?;
    if ended.err().contains("limit wall") {
        Ok(())
    } else {
        Err(Stop::Fail(format!("no word of the limit\n{}", ended.told())))
    }
}
