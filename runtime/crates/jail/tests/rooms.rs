//! The root of a sandbox: what is shown, what may be written, and what set-up must never do.
//! It never touches a file outside its own directory in `/tmp`.

mod common;

use common::{Scratch, again_as_ordinary_user, is_root, options, plan, plan_with, run, sh, start};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use stockade_jail::plan::{Access, Exec, Owner, Plan, SessionStep};
use stockade_jail::{ErrorKind, JailError, Sandbox, Status};

#[test]
fn as_an_ordinary_user() {
    again_as_ordinary_user("as_an_ordinary_user");
}

fn bind(source: PathBuf, target: &str) -> SessionStep {
    SessionStep::Bind { source, target: target.into(), access: Access::ReadOnly, exec: Exec::Allow, owner: Owner::AsIs }
}

#[track_caller]
fn refused(plan: &Plan) -> JailError {
    Sandbox::start(plan, &options()).expect_err("the set-up must refuse")
}

#[track_caller]
fn fails(sandbox: &Sandbox, line: &str) {
    let output = run(sandbox, &["sh", "-c", line]);
    assert_ne!(output.ended.status, Status::Exited(0), "{line} succeeded: {}", output.text());
}

#[test]
fn set_up_does_not_follow_a_link_planted_in_the_workspace() {
    let scratch = Scratch::new();
    let (workspace, outside, extra) = (scratch.dir("w"), scratch.dir("outside"), scratch.dir("extra"));
    symlink(&outside, workspace.join("a")).expect("our own directory");
    symlink("/tmp", workspace.join("t")).expect("our own directory");
    for target in ["/w/a/b", "/w/a", "/w/t/x"] {
        let error = refused(&plan_with(&workspace, vec![bind(extra.clone(), target)]));
        assert_eq!(error.kind, ErrorKind::SymlinkInTheWay, "{target}: {error}");
        assert!(error.hint.is_some());
    }
    for step in [
        SessionStep::Protect { path: "/w/a".into() },
        SessionStep::Mask { path: "/w/a/b".into() },
        SessionStep::Pin { path: "/w/a".into() },
        SessionStep::Dir { path: "/w/a/b".into(), mode: 0o755 },
        SessionStep::File { path: "/w/a/b".into(), content: "x".into(), mode: 0o644 },
        SessionStep::Tmpfs { path: "/w/a/b".into(), size_mib: 1, mode: 0o755, exec: Exec::Deny },
    ] {
        assert_eq!(refused(&plan_with(&workspace, vec![step.clone()])).kind, ErrorKind::SymlinkInTheWay, "{step}");
    }
    assert_eq!(std::fs::read_dir(&outside).expect("our own directory").count(), 0, "created outside");
}

#[test]
fn set_up_creates_nothing_in_a_directory_of_the_host() {
    let scratch = Scratch::new();
    let (workspace, extra) = (scratch.dir("w"), scratch.dir("extra"));
    for step in [
        bind(extra, "/w/new/place"),
        SessionStep::Dir { path: "/w/new".into(), mode: 0o755 },
        SessionStep::File { path: "/w/new".into(), content: "x".into(), mode: 0o644 },
        SessionStep::Symlink { path: "/w/new".into(), target: "/etc".into() },
        SessionStep::Tmpfs { path: "/w/new".into(), size_mib: 1, mode: 0o755, exec: Exec::Deny },
        SessionStep::Protect { path: "/w/new".into() },
    ] {
        assert_eq!(refused(&plan_with(&workspace, vec![step.clone()])).kind, ErrorKind::TargetMissing, "{step}");
    }
    assert_eq!(std::fs::read_dir(&workspace).expect("our own directory").count(), 0, "created on the host");
}

#[test]
fn a_source_that_is_missing_or_a_link_is_named() {
    let scratch = Scratch::new();
    let workspace = scratch.dir("w");
    symlink("/etc", scratch.path().join("link")).expect("our own directory");
    let error = refused(&plan_with(&workspace, vec![bind(scratch.path().join("link"), "/x")]));
    assert_eq!(error.kind, ErrorKind::SymlinkInTheWay);
    let error = refused(&plan_with(&workspace, vec![bind(scratch.path().join("none"), "/x")]));
    assert_eq!(error.kind, ErrorKind::SourceMissing);
    assert!(error.to_string().contains("none"), "{error}");
}

#[test]
fn a_source_behind_a_link_in_its_parents_is_found() {
    let scratch = Scratch::new();
    let workspace = scratch.dir("w");
    std::fs::write(scratch.dir("real").join("file"), "text").expect("our own directory");
    symlink(scratch.path().join("real"), scratch.path().join("alias")).expect("our own directory");
    let sandbox = start(&plan_with(&workspace, vec![bind(scratch.path().join("alias/file"), "/shown/file")]));
    assert_eq!(sh(&sandbox, "cat /shown/file"), "text");
    fails(&sandbox, "echo x > /shown/file");
}

#[test]
fn the_root_is_read_only_and_shows_nothing_else() {
    let scratch = Scratch::new();
    let workspace = scratch.dir("w");
    let sandbox = start(&plan(&workspace));
    for line in
        ["echo x > /x", "mkdir /x", "echo x > /usr/x", "echo x > /etc/x", "mv /usr /usr2", "ls /sys", "ls /root"]
    {
        fails(&sandbox, line);
    }
    assert_eq!(sh(&sandbox, "ls -A /"), "bin\ndev\netc\nlib\nlib64\nproc\nsbin\ntmp\nusr\nw\n");
    let old_root = sh(&sandbox, "cd /..; ls -A | wc -l; ls /.. | wc -l");
    assert_eq!(old_root, "10\n10\n");
    assert_eq!(sh(&sandbox, "ls -A /tmp"), "");
}

#[test]
fn the_workspace_is_written_as_its_owner() {
    let scratch = Scratch::new();
    let workspace = scratch.dir("w");
    if is_root() {
        std::os::unix::fs::chown(&workspace, Some(4242), Some(4243)).expect("we are root");
    }
    let owner = std::fs::metadata(&workspace).expect("our own directory");
    let sandbox = start(&plan(&workspace));
    sh(&sandbox, "echo text > /w/file; mkdir /w/sub; ln /w/file /w/sub/hard; [ -O /w/file ] && [ -O /w ]");
    for name in ["file", "sub"] {
        let made = std::fs::metadata(workspace.join(name)).expect("the guest made it");
        assert_eq!((made.uid(), made.gid()), (owner.uid(), owner.gid()), "{name}");
    }
    if is_root() {
        // A file of somebody else's stays that: neither shown as the guest's nor writable.
        std::fs::write(workspace.join("foreign"), "x").expect("we are root");
        fails(&sandbox, "echo y > /w/foreign");
        let rootless = scratch.dir("owned-by-root");
        let sandbox = start(&plan(&rootless));
        sh(&sandbox, "echo text > /w/file");
        assert_eq!(std::fs::metadata(rootless.join("file")).expect("made").uid(), 0);
    }
}

#[test]
fn the_guest_is_never_host_root() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(&scratch.dir("w")));
    let map = sh(&sandbox, "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups");
    let fields: Vec<_> = map.split_whitespace().collect();
    assert_eq!((fields[2], fields[5], fields[6]), ("1", "1", "deny"));
    assert_ne!(fields[1], "0");
    if is_root() {
        assert_eq!(fields[1], (0x7000_0000_u32 + 1000).to_string());
    }
}

#[test]
fn a_directory_below_a_private_home_can_be_shown() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let home = scratch.dir("home");
    std::fs::write(scratch.dir("home/tools").join("file"), "text").expect("our own directory");
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).expect("our own directory");
    let tools = SessionStep::Bind {
        source: home.join("tools"),
        target: "/tools".into(),
        access: Access::ReadOnly,
        exec: Exec::Allow,
        owner: Owner::AsIs,
    };
    let sandbox = start(&plan_with(&scratch.dir("w"), vec![tools]));
    assert_eq!(sh(&sandbox, "cat /tools/file"), "text");
    fails(&sandbox, "ls /tools/../../home");
}

fn overlay_plan(scratch: &Scratch) -> (PathBuf, PathBuf, Plan) {
    let (lower, layer) = (scratch.dir("lower"), scratch.dir("layer"));
    std::fs::create_dir(layer.join("upper")).expect("our own directory");
    std::fs::create_dir(layer.join("work")).expect("our own directory");
    let over = SessionStep::Overlay {
        lower: lower.clone(),
        layer: layer.clone(),
        target: "/o".into(),
        exec: Exec::Allow,
        owner: Owner::Guest,
    };
    let plan = plan_with(&scratch.dir("w"), vec![over]);
    (lower, layer, plan)
}

#[test]
fn a_layer_takes_the_writes_and_the_host_keeps_its_files() {
    let scratch = Scratch::new();
    let (lower, layer, mut plan) = overlay_plan(&scratch);
    std::fs::write(lower.join("kept"), "old").expect("our own directory");
    std::fs::write(lower.join("gone"), "old").expect("our own directory");
    std::fs::create_dir(lower.join("dir")).expect("our own directory");
    landlock_allows(&mut plan, "/o");
    let sandbox = start(&plan);
    sh(&sandbox, "cd /o && echo new > kept && rm gone && echo x > dir/file && mv dir dir2; chmod 700 kept");
    assert_eq!(sh(&sandbox, "cat /o/kept; ls /o | tr '\\n' ' '"), "new\ndir2 kept ");
    drop(sandbox);
    assert_eq!(std::fs::read_to_string(lower.join("kept")).expect("there"), "old");
    assert!(lower.join("gone").exists() && lower.join("dir").exists());
    assert_eq!(std::fs::read_to_string(layer.join("upper/kept")).expect("there"), "new\n");
    let mountinfo = sh(&start(&plan), "cat /proc/self/mountinfo");
    assert!(!mountinfo.contains("/layer"), "the host's path of the layer shows: {mountinfo}");
}

fn landlock_allows(plan: &mut Plan, path: &str) {
    for step in &mut plan.session {
        if let SessionStep::Landlock { rules, .. } = step {
            rules.push(stockade_jail::plan::LandlockRule {
                path: path.into(),
                rights: stockade_jail::plan::PathRights::ReadWriteExec,
            });
        }
    }
}

#[test]
fn a_layer_that_cannot_carry_an_overlay_is_told_apart() {
    let scratch = Scratch::new();
    let (_, layer, mut plan) = overlay_plan(&scratch);
    // The layer within the lower directory: overlayfs refuses, as it does for a file system without what it needs.
    for step in &mut plan.session {
        if let SessionStep::Overlay { lower, .. } = step {
            *lower = layer.join("upper");
        }
    }
    let error = refused(&plan);
    assert_eq!(error.kind, ErrorKind::OverlayRefused, "{error:?}");
    assert!(error.errno.is_some());
}

#[test]
fn protected_pinned_and_masked_paths_stay_so() {
    let scratch = Scratch::new();
    let workspace = scratch.dir("w");
    std::fs::create_dir_all(workspace.join(".git/hooks")).expect("our own directory");
    std::fs::write(workspace.join(".git/config"), "config").expect("our own directory");
    std::fs::write(workspace.join("secret"), "secret").expect("our own directory");
    std::fs::create_dir(workspace.join("secrets")).expect("our own directory");
    std::fs::write(workspace.join("secrets/one"), "secret").expect("our own directory");
    let at = |path: &str| PathBuf::from("/w").join(path);
    let sandbox = start(&plan_with(
        &workspace,
        vec![
            SessionStep::Pin { path: at(".git") },
            SessionStep::Protect { path: at(".git/hooks") },
            SessionStep::Protect { path: at(".git/config") },
            SessionStep::Mask { path: at("secret") },
            SessionStep::Mask { path: at("secrets") },
        ],
    ));
    for line in [
        "echo x > /w/.git/config",
        "echo x > /w/.git/hooks/pre-commit",
        "mv /w/.git /w/.git2",
        "mv /w/.git/hooks /w/.git/hooks2",
        "rm -rf /w/.git/hooks; [ ! -e /w/.git/hooks ]",
        "rm -f /w/.git/config; [ ! -e /w/.git/config ]",
        "cat /w/secret",
        "chmod 777 /w/secret /w/secrets",
        "ls /w/secrets",
        "cat /w/secrets/one",
        "mv /w/secret /w/other",
    ] {
        fails(&sandbox, line);
    }
    assert_eq!(sh(&sandbox, "cat /w/.git/config; echo x > /w/.git/index; ls /w/.git"), "configconfig\nhooks\nindex\n");
    assert_eq!(sh(&sandbox, "ls -A / | grep mask || echo none"), "none\n");
}

#[test]
fn proc_hides_the_machine_and_cannot_be_written() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    for name in ["kcore", "keys", "timer_list", "sysrq-trigger", "acpi", "scsi"] {
        if Path::new("/proc").join(name).exists() {
            fails(&sandbox, &format!("if [ -d /proc/{name} ]; then ls /proc/{name}; else head -c1 /proc/{name}; fi"));
        }
    }
    for line in [
        "echo h > /proc/sysrq-trigger",
        "echo '|/x' > /proc/sys/kernel/core_pattern",
        "echo 1 > /proc/sys/vm/drop_caches",
        "echo x > /proc/sys/kernel/hostname",
        "echo 1 > /proc/1/oom_score_adj",
        "cat /dev/core",
    ] {
        fails(&sandbox, line);
    }
    assert_eq!(sh(&sandbox, "ls -d /proc/[0-9]* | head -1; cat /proc/1/comm"), "/proc/1\nstockade-init\n");
    assert_ne!(sh(&sandbox, "cat /proc/cpuinfo /proc/meminfo /proc/sys/kernel/osrelease | wc -c"), "0\n");
}

#[test]
fn devices_are_the_harmless_ones() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let list = sh(&sandbox, "ls /dev | tr '\\n' ' '");
    assert_eq!(list, "core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ");
    sh(
        &sandbox,
        "echo x > /dev/null && [ $(head -c4 /dev/urandom | wc -c) = 4 ] && [ $(head -c4 /dev/zero | wc -c) = 4 ]",
    );
    sh(&sandbox, "echo x > /dev/shm/x && cat /dev/shm/x && echo x > /dev/stdout");
    for line in ["echo x > /dev/full", "mknod /tmp/n c 1 3", "mknod /tmp/n b 8 0", "echo x > /dev/new", ": < /dev/tty"]
    {
        fails(&sandbox, line);
    }
}

#[test]
fn the_network_is_a_loopback_that_is_up() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let refused = run(&sandbox, &["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("refused"), "{refused:?}");
    let unreachable = run(&sandbox, &["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/9"]);
    assert!(String::from_utf8_lossy(&unreachable.stderr).contains("unreachable"), "{unreachable:?}");
}

#[test]
fn a_path_that_is_not_utf_8_can_be_a_workspace() {
    let scratch = Scratch::new();
    let name: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(b"w\xff\\x\n".to_vec());
    let workspace = scratch.path().join(name);
    std::fs::create_dir(&workspace).expect("our own directory");
    let sandbox = start(&plan(&workspace));
    sh(&sandbox, "echo text > /w/file");
    assert!(workspace.join("file").exists());
}

#[test]
fn mounts_carry_their_flags() {
    let scratch = Scratch::new();
    let sandbox = start(&plan(scratch.path()));
    let mounts = sh(&sandbox, "cat /proc/self/mountinfo");
    for line in mounts.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let (place, flags) = (fields[4], fields[5]);
        assert!(flags.contains("nosuid"), "{line}");
        assert!(flags.contains("nodev") || place.starts_with("/dev/"), "{line}");
        assert!(!line.contains(" shared:") && !line.contains(" master:"), "{line}");
    }
}
