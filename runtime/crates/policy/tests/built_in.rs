//! Reads the built-in profiles from the source tree and holds what each of them promises.
//! It never runs anything: that the walls keep these promises is tested where the walls are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use stockade_policy::{
    AbsolutePath, Access, Action, Answer, Call, Command, ExpandedProfile, Files, Floor, GuestPath, HostFacts, Limit,
    Profile, ProfileName, ToolName, Treatment, WallChoice, parse, resolve,
};

const NAMES: [&str; 10] =
    ["base", "shell", "rust-dev", "node-dev", "python-dev", "git", "review-only", "ci", "container", "locked"];

fn text(name: &str) -> Option<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../sandbox-profiles");
    std::fs::read(directory.join(format!("{name}.toml"))).ok()
}

/// All built-in profiles by name, resolved once: the tables below ask them thousands of times.
static PROFILES: LazyLock<BTreeMap<&str, Profile>> =
    LazyLock::new(|| NAMES.into_iter().map(|name| (name, resolved(name))).collect());

fn load(name: &str) -> &'static Profile {
    &PROFILES[name]
}

fn resolved(name: &str) -> Profile {
    let label = |name: &str| format!("{name}.toml");
    let file = parse(&label(name), &text(name).expect("the profile exists")).unwrap_or_else(|all| panic!("\n{all}"));
    let mut lookup = |name: &ProfileName| match text(name.as_str()) {
        Some(bytes) => parse(&label(name.as_str()), &bytes).map(Some),
        None => Ok(None),
    };
    resolve(&file, &mut lookup).unwrap_or_else(|all| panic!("\n{all}"))
}

#[track_caller]
fn at_home(name: &str) -> ExpandedProfile {
    let variables = BTreeMap::new();
    let facts = HostFacts {
        home: AbsolutePath::parse(b"/home/ada").expect("a clean path"),
        workspace: AbsolutePath::parse(b"/home/ada/work").expect("a clean path"),
        variables: &variables,
    };
    // `container` has no image of its own.
    let wall = match load(name).expand(&facts) {
        Ok(expanded) => return expanded,
        Err(_) => WallChoice::parse(None, Some("debian:13"), None).expect("an image"),
    };
    let named = load(name).behind(&wall).expect("an image is named");
    named.expand(&facts).unwrap_or_else(|all| panic!("\n{all}"))
}

#[track_caller]
fn check(profile: &str, action: Action, expect: &str) {
    let call = Call::new(ToolName::parse("test").expect("a name"), action);
    let answer = match at_home(profile).would(&call) {
        Answer::Allowed(_) => "allowed",
        Answer::Asks(_) => "asks",
        Answer::Denied(_) => "denied",
    };
    assert_eq!(answer, expect, "{profile}: {call:?}");
}

fn run(words: &[&str]) -> Action {
    Action::Command(Command::from_words(words.iter().map(|word| word.as_bytes())).expect("a command"))
}

fn read(path: &str) -> Action {
    Action::Read { path: GuestPath::parse(path).expect("a path") }
}

fn write(path: &str) -> Action {
    Action::Write { path: GuestPath::parse(path).expect("a path") }
}

#[test]
fn every_file_resolves_and_no_file_is_unknown() {
    for name in NAMES {
        let profile = at_home(name);
        assert_eq!(profile.name().as_str(), name);
        assert!(!profile.description().is_empty(), "{name} says what it is for");
    }
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../sandbox-profiles");
    for entry in std::fs::read_dir(directory).expect("the directory exists") {
        let name = entry.expect("it can be listed").file_name();
        let name = name.to_string_lossy();
        assert!(NAMES.iter().any(|known| format!("{known}.toml") == name), "{name} is tested here");
    }
}

#[test]
fn no_built_in_profile_grants_the_network_a_secret_or_a_socket() {
    for name in NAMES {
        let profile = load(name);
        assert_eq!(profile.net_grants().count(), 0, "{name}");
        assert_eq!(profile.secrets().len(), 0, "{name}");
        assert_eq!(profile.unix_grants().count(), 0, "{name}");
    }
}

#[test]
fn nothing_outside_the_workspace_is_writable() {
    for name in NAMES {
        let profile = at_home(name);
        for grant in profile.path_grants().filter(|grant| grant.access == Access::Write) {
            assert_eq!(grant.path, profile.workspace(), "{name}");
        }
    }
}

#[test]
fn keys_and_accounts_stay_out() {
    for name in NAMES {
        for path in [
            "/etc/shadow",
            "/etc/passwd",
            "/etc/ssl/private/key.pem",
            "/etc/sudoers",
            "/root/.ssh/id_ed25519",
            "/home/ada/.ssh/id_ed25519",
            "/home/ada/.git-credentials",
            "/home/ada/.config/git/credentials",
            "/home/ada/.cargo/credentials.toml",
            "/home/ada/.npmrc",
            "/home/ada/.pypirc",
            "/home/ada/.netrc",
            "/home/ada/.aws/credentials",
            "/home/ada/.bash_history",
            "/home/ada",
            "/",
            "/proc/1/environ",
            "/var/run/docker.sock",
            "/home/ada/work/../.ssh/id_ed25519",
        ] {
            check(name, read(path), "denied");
            check(name, write(path), "denied");
        }
    }
}

#[test]
fn each_profile_is_useful_as_it_is() {
    for name in NAMES {
        check(name, run(&["ls", "-l"]), "allowed");
        check(name, run(&["/usr/bin/env"]), "allowed");
        check(name, run(&["/bin/sh", "-c", "true"]), "allowed");
        check(name, read("src/main.rs"), "allowed");
    }
    for name in ["shell", "git", "rust-dev", "node-dev", "python-dev", "ci", "container"] {
        check(name, write("src/main.rs"), "allowed");
        check(name, run(&["./configure"]), "allowed");
    }
    check("git", read("/home/ada/.gitconfig"), "allowed");
    check("git", run(&["git", "push"]), "asks");
    check("git", run(&["/usr/bin/git", "push", "--force"]), "asks");
    check("git", run(&["git", "commit", "-m", "push"]), "allowed");
    check("rust-dev", run(&["/home/ada/.cargo/bin/cargo", "test"]), "allowed");
    check("node-dev", run(&["/home/ada/.nvm/versions/node/v22/bin/node"]), "allowed");
    check("python-dev", run(&["/home/ada/.pyenv/shims/python"]), "allowed");
    check("ci", run(&["/home/ada/.cargo/bin/cargo", "test"]), "allowed");
    check("ci", run(&["git", "push"]), "denied");
}

#[test]
fn tools_that_read_are_everywhere_and_tools_that_write_are_where_commands_write() {
    let call = |name: &str| Action::Tool { name: ToolName::parse(name).expect("a name"), args: BTreeMap::new() };
    for name in NAMES {
        let writes = !matches!(name, "base" | "review-only" | "locked");
        for tool in ["read", "list", "glob", "grep"] {
            check(name, call(tool), "allowed");
        }
        for tool in ["write", "edit", "patch"] {
            check(name, call(tool), if writes { "allowed" } else { "denied" });
        }
        for tool in ["fetch", "shell", "python"] {
            check(name, call(tool), if name == "locked" { "denied" } else { "allowed" });
        }
        check(name, call("unheard-of"), "denied");
        let files = if writes { Files::Write } else { Files::Read };
        assert_eq!(at_home(name).files_for_tools(), files, "{name}");
        assert!(load(name).components().is_empty(), "{name}");
    }
}

#[test]
fn read_only_profiles_write_nothing_and_run_nothing_of_the_project() {
    for name in ["base", "review-only", "locked"] {
        check(name, write("src/main.rs"), "denied");
        check(name, run(&["./configure"]), "denied");
        check(name, run(&["sub/../configure"]), "denied");
    }
    for name in ["review-only", "locked"] {
        check(name, read(".env"), "denied");
        check(name, read("app/.ENV"), "denied");
        check(name, read(".env.example"), "allowed");
    }
    check("locked", read("/etc/os-release"), "denied");
}

#[test]
fn limits_are_there_and_an_interactive_shell_has_no_deadline() {
    for name in NAMES {
        let profile = load(name);
        let unattended = matches!(name, "ci" | "locked");
        assert_eq!(profile.limits().get(Limit::WallS).is_some(), unattended, "{name}");
        for limit in [Limit::MemoryMib, Limit::Pids, Limit::OpenFiles, Limit::DiskMib, Limit::OutputMib] {
            assert!(profile.limits().get(limit).is_some(), "{name} limits {limit}");
        }
        let full = matches!(name, "ci" | "locked" | "review-only");
        assert_eq!(profile.floor() == Floor::Full, full, "{name}");
    }
}

#[track_caller]
fn treated(path: &str, expect: &str) {
    for name in NAMES {
        let kind = match load(name).treatment_as_leaf(path.as_bytes()) {
            Treatment::Free => "free",
            Treatment::Hold { .. } => "hold",
            Treatment::Protect { .. } => "protect",
        };
        assert_eq!(kind, expect, "{name}: {path}");
    }
}

#[test]
fn what_runs_on_the_host_is_protected_in_every_profile() {
    for path in [
        ".git/hooks/pre-commit",
        ".git/config",
        ".GIT/Config",
        ".g\u{200c}it/hooks/post-checkout",
        ".git./config",
        "git~1/hooks/x",
        ".git/info/attributes",
        ".git/modules/lib/hooks/post-checkout",
        ".git/modules/a/modules/b/config",
        "stockade.toml",
        "STOCKADE.TOML",
        ".bashrc",
        ".config/systemd/user/x.service",
        ".ssh/authorized_keys",
    ] {
        treated(path, "protect");
    }
}

#[test]
fn what_runs_on_the_host_later_is_held_in_every_profile() {
    for path in [
        "sub/.git/hooks/post-checkout",
        "sub/.git/config",
        "sub/HEAD",
        "sub/head/HEAD",
        "HEAD",
        "mirror.git/config",
        "mirror.git/hooks/update",
        "tools/hooks/pre-commit",
        ".git/worktrees/w/gitdir",
        ".git/rebase-merge/git-rebase-todo",
        ".envrc",
        "deep/down/.envrc",
        ".npmrc",
        ".yarnrc.yml",
        "node_modules/.bin/tsc",
        "app/node_modules/.bin/tsc",
        ".github/workflows/x.yml",
        ".gitlab-ci.yml",
        "Makefile",
        "tests/conftest.py",
        "build.rs",
        "crates/a/build.rs",
        ".cargo/config.toml",
        "crates/a/.cargo/config",
        ".pre-commit-config.yaml",
        ".vscode/tasks.json",
        ".idea/workspace.xml",
        ".devcontainer/devcontainer.json",
        ".mcp.json",
        ".CURSOR/mcp.json",
        "CLAUDE.md",
        "docs/AGENTS.md",
        ".codex/config.toml",
        ".claude/commands/x.md",
        ".claude/settings.json",
        "x.code-workspace",
        "Cargo.lock",
        "package-lock.json",
        // A link or file in place of a directory that holds guarded files.
        ".git",
        "sub/.git",
        ".claude",
        ".github",
        ".cargo",
        "node_modules",
    ] {
        treated(path, "hold");
    }
}

#[test]
fn ordinary_work_is_free() {
    for path in [
        "src/main.rs",
        "README.md",
        "target/debug/app",
        ".git/HEAD",
        ".git/index",
        ".git/refs/heads/main",
        ".git/logs/HEAD",
        ".git/objects/ab/cdef",
        ".git/COMMIT_EDITMSG",
        ".git/worktrees/w/HEAD",
        "sub/.git/HEAD",
        "src/head/index.ts",
        "src/head.rs",
        "docs/config",
        "hooks/useThing.ts",
        ".gitignore",
        ".gitattributes",
        "node_modules/left-pad/index.js",
        "environment.py",
    ] {
        treated(path, "free");
    }
}
