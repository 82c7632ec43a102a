//! The conformance table of the process wall and the WASI wall: profile, act, verdict.
//! It never has two verdicts in a row without the reason.

use crate::world::{Act, SIGN, Verdict, server, session, verdict, words};
use Verdict::{Allowed, Refused};
use stockade_tests::stage::Stage;
use stockade_tests::story::{Story, Told, must, same};

/// One act by two ways.
struct Row {
    name: &'static str,
    /// What the profile has beyond the shell's.
    profile: &'static str,
    command: &'static str,
    tool: &'static str,
    args: &'static str,
    /// Prints [`SIGN`] on the host when the act had its effect; empty where the act's own answer shows it.
    effect: &'static str,
    process: Verdict,
    wasi: Verdict,
    /// Why the verdicts differ; empty where they do not.
    why: &'static str,
}

const fn both(
    name: &'static str,
    command: &'static str,
    (tool, args): (&'static str, &'static str),
    effect: &'static str,
    verdict: Verdict,
) -> Row {
    Row { name, profile: "", command, tool, args, effect, process: verdict, wasi: verdict, why: "" }
}

impl Row {
    const fn with(mut self, profile: &'static str) -> Self {
        self.profile = profile;
        self
    }

    const fn differs(mut self, wasi: Verdict, why: &'static str) -> Self {
        self.wasi = wasi;
        self.why = why;
        self
    }
}

/// What every row finds: files in the workspace, some outside that a profile may grant, links between them.
const PREPARE: &str = "rm -rf .git '{root}/outside' '{root}/granted' '{root}/open'; mkdir -p a/b .git/hooks \
    '{root}/outside/deep' '{root}/granted' '{root}/open'; chmod 755 '{root}/outside' '{root}/granted'; chmod 777 '{root}/open'; \
    printf 'SIGN\\n' > file; printf 'SIGN\\n' > a/b/nested; printf 'SIGN\\n' > '{root}/outside/secret'; \
    printf 'SIGN\\n' > '{root}/outside/deep/secret'; touch '{root}/outside/SIGN'; printf 'SIGN\\n' > '{root}/granted/known'; \
    printf 'SIGN\\n' > hidden; mkdir -p closed; printf 'SIGN\\n' > closed/in; printf '[core]\\n' > .git/config; \
    ln -sfn '{root}/outside/secret' link; ln -sfn '{root}/outside' linked; ln -sfn ../outside/secret relative; \
    ln -sfn a/b/nested inside; ln -sfn loop2 loop1; ln -sfn loop1 loop2; mkdir -p a/gone; printf 'SIGN\\n' > 'e\u{301}'";

const GRANTED: &str = "[[grant.read]]\npath = \"{root}/granted\"\nreason = \"a directory beside the workspace\"\n";
const OPEN: &str = "[[grant.read]]\npath = \"{root}/open\"\nreason = \"read it\"\n[[grant.write]]\npath = \"{root}/open\"\nreason = \"a directory to write to\"\n";
const HIDING: &str = "[[deny.read]]\npath = \"{ws}/hidden\"\nreason = \"nobody reads it\"\n[[deny.read]]\npath = \"{ws}/closed\"\nreason = \"nor this\"\n";
const KEEPING: &str = "[[deny.write]]\npath = \"{ws}/file\"\nreason = \"it stays as it is\"\n";
const NET: &str = "[[grant.net]]\nhost = \"plain.test\"\nports = [80]\nmethods = [\"GET\"]\npaths = [\"/v1/**\"]\n\
    resolve = [\"127.0.0.1:{http}\"]\nreason = \"a host of which little is granted\"\n";

/// A host that is granted whole, and the component that connects to it by the standard library's own client.
const RAW: &str = "[[grant.net]]\nhost = \"raw.test\"\nports = [2222]\nresolve = [\"127.0.0.1:{http}\"]\nreason = \"it speaks no HTTP\"\n\
    [[tool]]\nname = \"dial\"\nfile = \"{root}/dial.wasm\"\nreason = \"a client\"\n\
    [[grant.tool]]\nname = \"dial\"\nsockets = true\nreason = \"it connects\"\n";
const DIAL: &[u8] = include_bytes!("../../tools-wasm/guests/dial.wasm");

/// For acts that cannot succeed without a wall either: both walls have to say so.
const NEVER: &str = "false";
const OUTSIDE_EFFECT: &str = "grep -q changed '{root}/outside/secret' && echo SIGN";

const ROWS: &[Row] = &[
    both("reads_a_file", "cat file", ("read", r#"{"file_path":"file"}"#), "", Allowed),
    both("reads_a_nested_file", "cat a/b/nested", ("read", r#"{"file_path":"a/b/nested"}"#), "", Allowed),
    both("reads_by_its_whole_path", "cat {ws}/file", ("read", r#"{"file_path":"{ws}/file"}"#), "", Allowed),
    both("reads_through_a_link_inside", "cat inside", ("read", r#"{"file_path":"inside"}"#), "", Allowed),
    both(
        "reads_with_dots_that_stay_inside",
        "cat a/../a/b/nested",
        ("read", r#"{"file_path":"a/../a/b/nested"}"#),
        "",
        Allowed,
    ),
    both(
        "dots_do_not_read_outside",
        "cat ../outside/secret",
        ("read", r#"{"file_path":"../outside/secret"}"#),
        "",
        Refused,
    ),
    both(
        "hidden_dots_do_not_read_outside",
        "cat a/./b/../../../outside/secret",
        ("read", r#"{"file_path":"a/./b/../../../outside/secret"}"#),
        "",
        Refused,
    ),
    both(
        "a_whole_path_does_not_read_outside",
        "cat {root}/outside/secret",
        ("read", r#"{"file_path":"{root}/outside/secret"}"#),
        "",
        Refused,
    ),
    both("a_link_does_not_read_outside", "cat link", ("read", r#"{"file_path":"link"}"#), "", Refused),
    both("a_relative_link_does_not_read_outside", "cat relative", ("read", r#"{"file_path":"relative"}"#), "", Refused),
    both(
        "a_linked_directory_does_not_read_outside",
        "cat linked/deep/secret",
        ("read", r#"{"file_path":"linked/deep/secret"}"#),
        "",
        Refused,
    ),
    both(
        "a_link_with_a_slash_does_not_read_outside",
        "cat linked/./secret",
        ("read", r#"{"file_path":"linked/./secret"}"#),
        "",
        Refused,
    ),
    both("listing_does_not_show_outside", "ls ../outside", ("list", r#"{"path":"../outside"}"#), "", Refused),
    both(
        "searching_does_not_read_outside",
        "grep -r sign ../outside",
        ("grep", r#"{"pattern":"sign","path":"../outside"}"#),
        "",
        Refused,
    ),
    both("a_hidden_file_is_not_read", "cat hidden", ("read", r#"{"file_path":"hidden"}"#), "", Refused).with(HIDING),
    both(
        "a_file_below_a_hidden_directory_is_not_read",
        "cat closed/in",
        ("read", r#"{"file_path":"closed/in"}"#),
        "",
        Refused,
    )
    .with(HIDING),
    both(
        "another_spelling_of_a_hidden_file_is_not_read",
        "cat ./a/../hidden",
        ("read", r#"{"file_path":"./a/../hidden"}"#),
        "",
        Refused,
    )
    .with(HIDING),
    both(
        "a_granted_file_outside_is_read",
        "cat {root}/granted/known",
        ("read", r#"{"file_path":"{root}/granted/known"}"#),
        "",
        Allowed,
    )
    .with(GRANTED),
    both(
        "what_is_granted_to_read_is_not_written",
        "echo changed > {root}/granted/known",
        ("write", r#"{"file_path":"{root}/granted/known","content":"changed\n"}"#),
        "grep -q changed '{root}/granted/known' && echo SIGN",
        Refused,
    )
    .with(GRANTED),
    both(
        "what_is_granted_to_write_is_written",
        "echo changed > {root}/open/new",
        ("write", r#"{"file_path":"{root}/open/new","content":"changed\n"}"#),
        "grep -q changed '{root}/open/new' && echo SIGN",
        Allowed,
    )
    .with(OPEN),
    both(
        "the_workspace_is_written",
        "echo changed > file",
        ("write", r#"{"file_path":"file","content":"changed\n"}"#),
        "grep -q changed file && echo SIGN",
        Allowed,
    ),
    both(
        "a_new_directory_is_made",
        "mkdir -p x/y && echo changed > x/y/z",
        ("write", r#"{"file_path":"x/y/z","content":"changed\n"}"#),
        "grep -q changed x/y/z && echo SIGN",
        Allowed,
    ),
    both(
        "dots_do_not_write_outside",
        "echo changed > ../outside/secret",
        ("write", r#"{"file_path":"../outside/secret","content":"changed\n"}"#),
        OUTSIDE_EFFECT,
        Refused,
    ),
    both(
        "a_link_does_not_write_outside",
        "echo changed > link",
        ("write", r#"{"file_path":"link","content":"changed\n"}"#),
        OUTSIDE_EFFECT,
        Refused,
    ),
    both(
        "a_linked_directory_does_not_write_outside",
        "echo changed > linked/secret",
        ("write", r#"{"file_path":"linked/secret","content":"changed\n"}"#),
        OUTSIDE_EFFECT,
        Refused,
    ),
    both(
        "editing_does_not_change_outside",
        "sed -i s/sign/changed/ ../outside/secret",
        ("edit", r#"{"file_path":"../outside/secret","edits":[{"old_string":"sign","new_string":"changed"}]}"#),
        OUTSIDE_EFFECT,
        Refused,
    ),
    both(
        "a_file_that_stays_is_not_written",
        "echo changed > file",
        ("write", r#"{"file_path":"file","content":"changed\n"}"#),
        "grep -q changed file && echo SIGN",
        Refused,
    )
    .with(KEEPING),
    both(
        "a_file_that_stays_is_not_edited",
        "sed -i s/sign/changed/ file",
        ("edit", r#"{"file_path":"file","edits":[{"old_string":"sign","new_string":"changed"}]}"#),
        "grep -q changed file && echo SIGN",
        Refused,
    )
    .with(KEEPING),
    both(
        "what_git_runs_is_not_written",
        "echo changed >> .git/config",
        ("write", r#"{"file_path":".git/config","content":"changed\n"}"#),
        "grep -q changed .git/config && echo SIGN",
        Refused,
    ),
    both(
        "a_hook_is_not_planted",
        "echo changed > .git/hooks/pre-commit",
        ("write", r#"{"file_path":".git/hooks/pre-commit","content":"changed\n"}"#),
        "grep -q changed .git/hooks/pre-commit && echo SIGN",
        Refused,
    ),
    both("a_loop_of_links_ends", "cat loop1", ("read", r#"{"file_path":"loop1"}"#), NEVER, Refused),
    both("another_case_is_another_name", "cat FILE", ("read", r#"{"file_path":"FILE"}"#), NEVER, Refused),
    both(
        "a_form_of_unicode_is_the_name_that_was_given",
        "cat 'e\u{301}'",
        ("read", r#"{"file_path":"e\u0301"}"#),
        "",
        Allowed,
    ),
    both(
        "another_form_of_unicode_is_another_name",
        "cat '\u{e9}'",
        ("read", r#"{"file_path":"\u00e9"}"#),
        NEVER,
        Refused,
    ),
    both(
        "the_kernels_names_lead_nowhere",
        "cat /proc/self/root{root}/outside/secret",
        ("read", r#"{"file_path":"/proc/self/root{root}/outside/secret"}"#),
        "",
        Refused,
    ),
    both(
        "the_names_of_the_first_process_lead_nowhere",
        "cat /proc/1/root{root}/outside/secret",
        ("read", r#"{"file_path":"/proc/1/root{root}/outside/secret"}"#),
        "",
        Refused,
    ),
    both(
        "a_descriptors_name_leads_nowhere",
        "cat /proc/self/cwd/../outside/secret",
        ("read", r#"{"file_path":"/proc/self/cwd/../outside/secret"}"#),
        "",
        Refused,
    ),
    both(
        "what_the_kernel_tells_a_process_of_itself_is_for_processes",
        "exec -a sign-of-the-host-5Tq8 cat /proc/self/cmdline",
        ("read", r#"{"file_path":"/proc/self/cmdline"}"#),
        "",
        Allowed,
    )
    .differs(Refused, "a component is no process: the name leads nowhere"),
    both(
        "a_request_is_sent",
        "curl -sSf http://plain.test/v1/x",
        ("fetch", r#"{"url":"http://plain.test/v1/x"}"#),
        "",
        Allowed,
    )
    .with(NET),
    both(
        "another_path_is_not_requested",
        "curl -sSf http://plain.test/v2/x",
        ("fetch", r#"{"url":"http://plain.test/v2/x"}"#),
        "",
        Refused,
    )
    .with(NET),
    both(
        "another_spelling_of_the_path_is_not_requested",
        "curl --path-as-is -sSf http://plain.test/v1/../v2/x",
        ("fetch", r#"{"url":"http://plain.test/v1/%2e%2e/v2/x"}"#),
        "",
        Refused,
    )
    .with(NET),
    both(
        "another_host_is_not_requested",
        "curl -sSf http://other.test/v1/x",
        ("fetch", r#"{"url":"http://other.test/v1/x"}"#),
        "",
        Refused,
    )
    .with(NET),
    both(
        "another_port_is_not_requested",
        "curl -sSf http://plain.test:81/v1/x",
        ("fetch", r#"{"url":"http://plain.test:81/v1/x"}"#),
        "",
        Refused,
    )
    .with(NET),
    both(
        "an_address_is_not_requested",
        "curl -sSf http://127.0.0.1:{http}/v1/x",
        ("fetch", r#"{"url":"http://127.0.0.1:{http}/v1/x"}"#),
        "",
        Refused,
    )
    .with(NET),
    both(
        "without_a_grant_nothing_is_requested",
        "curl -sSf http://plain.test/v1/x",
        ("fetch", r#"{"url":"http://plain.test/v1/x"}"#),
        "",
        Refused,
    ),
    both(
        "a_connection_goes_where_it_is_granted",
        "set -e; exec 3<>/dev/tcp/raw.test/2222; printf 'knock\r\n\r\n' >&3; cat <&3",
        ("dial", r#"{"strict":true,"steps":[{"do":"talk","to":"raw.test:2222","say":"knock\r\n\r\n"}]}"#),
        "",
        Allowed,
    )
    .with(RAW),
    both(
        "a_connection_does_not_go_to_another_port",
        "set -e; exec 3<>/dev/tcp/raw.test/2223; printf 'knock\r\n\r\n' >&3; cat <&3",
        ("dial", r#"{"strict":true,"steps":[{"do":"talk","to":"raw.test:2223","say":"knock\r\n\r\n"}]}"#),
        "",
        Refused,
    )
    .with(RAW),
    both(
        "a_connection_does_not_go_to_a_stranger",
        "set -e; exec 3<>/dev/tcp/stranger.test/2222; printf 'knock\r\n\r\n' >&3; cat <&3",
        ("dial", r#"{"strict":true,"steps":[{"do":"talk","to":"stranger.test:2222","say":"knock\r\n\r\n"}]}"#),
        "",
        Refused,
    )
    .with(RAW),
    both(
        "a_connection_does_not_go_to_an_address",
        "set -e; exec 3<>/dev/tcp/127.0.0.1/{http}; printf 'knock\r\n\r\n' >&3; cat <&3",
        ("dial", r#"{"strict":true,"steps":[{"do":"talk","to":"127.0.0.1:{http}","say":"knock\r\n\r\n"}]}"#),
        "",
        Refused,
    )
    .with(RAW),
];

pub(crate) fn stories() -> Vec<Story> {
    ROWS.iter().map(|row| Story::new(format!("acts::{}", row.name), move |stage| tell(stage, row))).collect()
}

fn prepare(stage: &Stage) -> Told {
    let script = PREPARE.replace("SIGN", SIGN);
    same("prepared", stage.plain(&["/bin/bash", "-c", &stage.scene.fill(&script)])?.code(), 0)
}

/// Whether the act had its effect on the host, or said what it may not know.
fn happened(stage: &Stage, row: &Row, said: &str) -> Result<bool, stockade_tests::story::Stop> {
    if row.effect.is_empty() {
        return Ok(said.contains(SIGN));
    }
    if row.effect == NEVER {
        return Ok(false);
    }
    let script = stage.scene.fill(&row.effect.replace("SIGN", SIGN));
    Ok(stage.plain(&["/bin/bash", "-c", &script])?.out().contains(SIGN))
}

fn tell(stage: &mut Stage, row: &Row) -> Told {
    must((row.process == row.wasi) == row.why.is_empty(), || "a difference has no reason, or none has one".to_owned())?;
    if matches!(row.tool, "fetch" | "dial") {
        let port = server()?;
        stage.scene.name("http", &port.to_string());
    }
    if row.tool == "dial" {
        stage.scene.file_with_mode("{root}/dial.wasm", "", 0o600)?;
        std::fs::write(stage.scene.path("{root}/dial.wasm"), DIAL)?;
    }
    let profile = stage.profile("walls", &format!("extends = [\"shell\"]\n{}", stage.scene.fill(row.profile)))?;
    control(stage, row)?;
    let acts = [
        ("process", Act::command(row.command), row.process),
        ("wasi", Act::tool(row.tool, &stage.scene.fill(row.args)), row.wasi),
    ];
    for (wall, act, expected) in acts {
        prepare(stage)?;
        let answers = session(stage, &["--profile", &profile, "--mode", "direct"], &[act])?;
        let answer = answers.first().map(words).unwrap_or_default();
        let found = answers.first().map(verdict);
        let happened = happened(stage, row, &answer)?;
        let right = match expected {
            Allowed => found == Some(Allowed) && happened,
            Refused => found == Some(Refused) && !happened,
        };
        must(right, || format!("{wall}: expected {expected:?}, found {found:?}, happened: {happened}\n{answer}"))?;
        stage.answers(0, &["verify", "last"])?;
    }
    Ok(())
}

/// Without a wall the act has its effect, but for what no wall is needed for, and for the kernel's names of a process that is
/// not the user's own. A request goes to the server of the test, whatever its host.
fn control(stage: &Stage, row: &Row) -> Told {
    if row.effect == NEVER || row.command.contains("/proc/1/") {
        return Ok(());
    }
    prepare(stage)?;
    let command = row.command.replace("curl ", "curl --noproxy '*' --connect-to ::127.0.0.1:{http} ");
    let command = command.replace("/dev/tcp/raw.test/2222", "/dev/tcp/127.0.0.1/{http}");
    let command = command.replace("/dev/tcp/raw.test/2223", "/dev/tcp/127.0.0.1/{http}");
    let command = command.replace("/dev/tcp/stranger.test/2222", "/dev/tcp/127.0.0.1/{http}");
    let ended = stage.plain(&["/bin/bash", "-c", &stage.scene.fill(&command)])?;
    must(happened(stage, row, &ended.out())?, || format!("the control does nothing: {}", ended.told()))
}
