//! Commands whose output, errors and exit code are the same confined and not.
//! It never compares what must differ; that has tests of its own.

use stockade_tests::stage::{Stage, run_words};
use stockade_tests::story::{Story, Told, must};

/// Name and shell text.
const SAME: &[(&str, &str)] = &[
    ("success", "true"),
    ("failure", "false"),
    ("every_exit_code_passes_3", "exit 3"),
    ("every_exit_code_passes_124", "exit 124"),
    ("every_exit_code_passes_125", "exit 125"),
    ("every_exit_code_passes_255", "exit 255"),
    ("exit_codes_wrap", "exit 256"),
    ("both_streams", "echo out; echo err >&2; echo out again"),
    ("no_newline_at_the_end", "printf 'no newline'"),
    ("no_output_at_all", ":"),
    ("nul_bytes", "printf 'a\\0b\\0'"),
    ("every_byte", "for i in $(seq 0 255); do printf \"\\\\x$(printf %02x $i)\"; done"),
    ("terminal_controls_in_a_pipe", "printf '\\033[31mred\\033]52;c;eA==\\007'"),
    ("a_pipeline", "seq 1000 | grep 7 | sort -rn | head -5 | tr 1 x"),
    ("the_status_of_a_pipeline", "set -o pipefail; false | true"),
    ("a_broken_pipe_inside", "yes | head -3"),
    ("a_here_document", "cat <<end\nline $((6 * 7))\nend"),
    ("process_substitution", "diff <(seq 3) <(seq 4)"),
    ("command_substitution", "echo $(echo nested $(echo deeper))"),
    ("arithmetic_and_arrays", "a=(1 2 3); echo $((a[1] << 10)) ${#a[@]} ${a[*]: -1}"),
    ("globbing", "touch b c a; echo *; rm a b c"),
    ("a_subshell_and_its_status", "(exit 9); echo $?"),
    ("background_jobs_and_wait", "(sleep 0.1; exit 5) & wait $!; echo $?"),
    ("a_trap_on_exit", "trap 'echo bye' EXIT; exit 4"),
    ("a_command_that_is_not_there", "nosuchcommand 2>/dev/null; echo $?"),
    ("a_syntax_error", "if; then"),
    ("redirections", "exec 3>&1; echo three >&3; exec 3>&-; echo x >&3 2>/dev/null; echo $?"),
    (
        "a_coprocess",
        "coproc cat; echo through >&${COPROC[1]}; read -r line <&${COPROC[0]}; echo $line; kill $COPROC_PID",
    ),
    ("files_written_and_read", "mkdir -p d/e; echo x > d/e/f; cat d/e/f; ls -A d; rm -r d; ls -A"),
    ("links", "echo x > f; ln -s f s; ln f h; cat s h; readlink s; stat -c %h f; rm f s h"),
    ("permissions", "touch f; chmod 640 f; stat -c %a f; chmod 400 f; stat -c %a f; rm -f f"),
    ("a_fifo", "mkfifo p; echo through > p & cat p; wait; rm p"),
    ("a_lock", "exec 9>lock; flock -n 9 && echo locked; rm lock"),
    ("an_executable_script", "printf '#!/bin/sh\\necho ran $1\\n' > s; chmod +x s; ./s arg; rm s"),
    ("temporary_files", "f=$(mktemp); echo x > $f; cat $f; rm $f"),
    ("signals_among_guests", "sleep 100 & kill -TERM $!; wait $!; echo $?"),
    ("dying_of_a_signal", "kill -SEGV $$"),
    ("dying_of_a_kill", "kill -KILL $$"),
    ("odd_file_names", "touch \"$(printf 'a\\nb')\" 'sp ace' -- -dash; ls -A | cat -A; rm -- *"),
    ("a_large_output", "head -c 20000000 /dev/zero | tr '\\0' x"),
    ("standard_input_at_its_end", "cat; echo $?"),
    ("devices", "echo x > /dev/null; head -c 4 /dev/zero | od -An -tx1; echo x > /dev/full; echo $?"),
    ("the_loopback_answers_itself", "exec 3<>/dev/tcp/127.0.0.1/9 || echo refused"),
];

pub(crate) fn stories() -> Vec<Story> {
    // Each mode gets a third of the commands: the streams are the same code in all of them.
    let same = SAME.iter().zip(["review", "direct", "discard"].iter().cycle()).map(|((name, text), mode)| {
        Story::new(format!("streams::{name}_does_not_differ"), move |stage| {
            not_different(stage, mode, &["/bin/bash", "-c", text], b"")
        })
    });
    let others = [
        Story::new("streams::input_does_not_get_lost", |stage| {
            not_different(
                stage,
                "review",
                &["/bin/bash", "-c", "read -r first; echo \"[$first]\"; cat"],
                b"one\ntwo\n\0three",
            )
        }),
        Story::new("streams::input_of_100_mib_does_not_get_lost", |stage| {
            let megabyte: Vec<u8> =
                (0..1_048_576_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
            not_different(stage, "review", &["/usr/bin/sha256sum"], &megabyte.repeat(25))
        }),
        Story::new("streams::input_that_nobody_reads_does_not_hold_anything_up", |stage| {
            not_different(stage, "review", &["/bin/echo", "did not read"], &vec![b'x'; 4_000_000])
        }),
        Story::new("streams::input_that_is_read_in_part_does_not_hold_anything_up", |stage| {
            not_different(stage, "review", &["/usr/bin/head", "-c", "5"], &vec![b'x'; 4_000_000])
        }),
        Story::new("streams::an_output_that_nobody_reads_any_more_does_not_fail_the_call", reader_gone),
        Story::new("streams::arguments_are_not_split_or_expanded", |stage| {
            let odd = ["/usr/bin/printf", "[%s]", "a b", "", "$HOME", "*", "'\"\\", "--", "-x", "two\nlines", "ünï"];
            not_different(stage, "review", &odd, b"")
        }),
        Story::new("streams::a_command_does_not_inherit_descriptors", |stage| {
            let text =
                "exec 7</dev/null 8</etc/passwd; '{bin}/stockade' run {wall} -q -w '{ws}' -- /bin/ls /proc/self/fd";
            let ended = stage.plain(&["/bin/bash", "-c", &stage.scene.fill(text)])?;
            // The fourth is the directory that ls reads.
            must(ended.out() == "0\n1\n2\n3\n", || ended.told())
        }),
        Story::new("streams::standard_streams_do_not_lose_their_names", |stage| {
            let text = "echo a > /dev/stdout; echo b > /dev/stderr; cat /dev/stdin; echo c > /dev/fd/1";
            let ended = stage.run(&["-q"], &["/bin/bash", "-c", text])?;
            must((ended.out(), ended.err()) == ("a\nc\n".into(), "b\n".into()), || ended.told())
        }),
        Story::new("streams::the_end_of_the_output_is_not_awaited_from_a_daemon", daemon),
    ];
    same.chain(others).collect()
}

/// Runs a command both ways, in a workspace that is the same both times, and compares all that a caller sees.
fn not_different(stage: &Stage, mode: &str, command: &[&str], input: &[u8]) -> Told {
    let mut plain = stage.program(command);
    plain.input = input.to_vec();
    let plain = stage.go(&plain)?;
    let words = run_words(&["--quiet", "--mode", mode], command);
    let mut confined = stage.program(&[&["{bin}/stockade"], &words[..]].concat());
    confined.input = input.to_vec();
    let confined = stage.go(&confined)?;
    let equal = (plain.code(), &plain.out, &plain.err) == (confined.code(), &confined.out, &confined.err);
    must(equal, || format!("mode {mode}\nUNCONFINED {}\nCONFINED {}", plain.told(), confined.told()))?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

fn reader_gone(stage: &mut Stage) -> Told {
    let text = "'{bin}/stockade' run {wall} --workspace '{ws}' -- /bin/bash -c \
        'trap \"\" PIPE; seq 100000; echo $? > done' | head -1; exit ${PIPESTATUS[0]}";
    let ended = stage.plain(&["/bin/bash", "-c", &stage.scene.fill(text)])?;
    must(ended.code() == 0 && ended.out() == "1\n", || ended.told())?;
    // The command was neither told nor ended: what it writes goes to the log.
    let diff = stage.answers(0, &["diff", "last"])?;
    must(diff.out().contains("+0"), || format!("the command saw its reader go: {}", diff.told()))?;
    stage.answers(0, &["verify", "last"]).map(drop)
}

/// A process that leaves its parent keeps the call's output open; the call ends with its command all the same.
fn daemon(stage: &mut Stage) -> Told {
    let ended = stage.run(&[], &["/bin/bash", "-c", "setsid sleep 1000 & disown; echo left"])?;
    must(ended.code() == 0 && ended.out() == "left\n", || ended.told())?;
    stage.answers(0, &["verify", "last"]).map(drop)
}
