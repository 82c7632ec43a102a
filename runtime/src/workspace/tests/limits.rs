//! Trees that resist: deep, locked, large; state that was altered.

use super::super::*;
use super::support::{Place, apply_all, path, run};
use std::fs;

#[test]
fn a_deep_locked_tree_is_discarded() {
    let place = Place::new("limits");
    let layer = place.layer();
    place.guest("mkdir locked; echo x > locked/f; chmod 000 locked/f locked");
    let deep = "import os\nfor _ in range(3000):\n os.mkdir('d'); os.chdir('d')\nopen('f','w')";
    run("python3", &["-c", deep], &place.state().join("layer/upper"), "");
    let changes = layer.changes(Freshness::Rehash).unwrap();
    assert_eq!(changes.unnameable().len(), 1);
    assert!(changes.get(&path("locked/f")).is_some());
    layer.discard().unwrap();
    assert_eq!(fs::read_dir(place.state()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(place.ws()).unwrap().count(), 0);
    Layer::open(&place.state()).unwrap_err();
}

#[test]
fn locked_directories_are_taken_as_they_are() {
    let place = Place::new("limits");
    place.write("ro/old", "1");
    fs::set_permissions(place.ws().join("ro"), std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    let layer = place.layer();
    place.guest("chmod 755 ro; echo 2 > ro/old; echo 3 > ro/new; chmod 555 ro; mkdir n; echo 4 > n/f; chmod 000 n/f; chmod 500 n; \
         mkdir -p z/y; echo 5 > z/y/f; chmod 000 z/y z");
    let applied = apply_all(&layer);
    assert_eq!(applied.skipped, []);
    assert_eq!(fs::read_to_string(place.ws().join("ro/new")).unwrap(), "3\n");
    let bits = |path: &str| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(place.ws().join(path)).unwrap().permissions()) & 0o7777
    };
    assert_eq!((bits("ro"), bits("n"), bits("n/f")), (0o555, 0o500, 0o000));
    assert_eq!(bits("z"), 0o000);
    // Known gap: what an ordinary user cannot enter, it can neither compare nor take back before opening it again.
    if !door::is_root() {
        layer.undo(applied.number).unwrap_err();
        fs::set_permissions(place.ws().join("z"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(bits("z/y"), 0o000);
        return;
    }
    assert!(layer.changes(Freshness::Rehash).unwrap().is_empty());
    layer.undo(applied.number).unwrap();
    assert_eq!(fs::read_to_string(place.ws().join("ro/old")).unwrap(), "1");
    assert!(!place.ws().join("n").exists());
}

#[test]
fn altered_state_is_refused() {
    let place = Place::new("limits");
    drop(place.layer());
    let file = place.state().join("layer.json");
    let good = fs::read_to_string(&file).unwrap();
    for bad in [
        good.replace("\"version\":1", "\"version\":2"),
        good.replace("{", "{\"x\":1,"),
        "{}".into(),
        "x".repeat(70_000),
    ] {
        fs::write(&file, bad).unwrap();
        assert!(matches!(Layer::open(&place.state()), Err(WorkspaceError::Corrupt { .. })));
    }
    fs::write(&file, good).unwrap();
    Layer::open(&place.state()).unwrap();
}

#[test]
fn a_workspace_around_the_state_is_refused() {
    let place = Place::new("limits");
    let error = Layer::create(&place.state(), &place.0, Mode::Review, Method::Overlay).unwrap_err();
    assert_eq!(error.fault(), Fault::Operator);
}

#[test]
fn paths_that_leave_the_workspace_do_not_parse() {
    for (text, fault) in [
        ("", PathFault::Empty),
        ("./.", PathFault::Empty),
        ("/a", PathFault::Absolute),
        ("a/../b", PathFault::Climbs),
        ("a\0", PathFault::Nul),
    ] {
        assert_eq!(RelPath::parse(text.as_bytes()), Err(fault), "{text:?}");
    }
    let odd = RelPath::parse(b"./a%//\xffb\n\xc3\xa9/").unwrap();
    assert_eq!(odd.as_bytes(), b"a%/\xffb\n\xc3\xa9");
    assert_eq!(RelPath::decode(&odd.encode()), Some(odd.clone()));
    assert_eq!(odd.quoted(), "\"a%/\\377b\\n\\303\\251\"");
}

/// Numbers for the record: `cargo test --release -- --ignored --nocapture workspace_numbers`.
#[test]
#[ignore = "a measurement"]
fn workspace_numbers() {
    let place = Place::new("numbers");
    let make = "import os\nfor d in range(560):\n os.makedirs(f'd{d%28}/s{d}')\n for f in range(100):\n  open(f'd{d%28}/s{d}/f{f}','w').write(f'{d} {f}\\n')";
    run("python3", &["-c", make], &place.ws(), "");
    let layer = place.layer();
    place.guest("echo x > d0/s0/f0; rm d1/s1/f1; echo n > fresh; mkdir d2/dir; chmod 600 d3/s3/f3");
    for _ in 0..3 {
        let now = std::time::Instant::now();
        let changes = layer.changes(Freshness::Rehash).unwrap();
        println!("diff of {} entries over 56000 files: {:?}", changes.list().len(), now.elapsed());
    }
    let now = std::time::Instant::now();
    println!("snapshot of {} entries: {:?}", layer.snapshot().unwrap().len(), now.elapsed());
    let many = "import os\nfor d in range(100):\n os.makedirs(f'new/{d}')\n for f in range(100):\n  open(f'new/{d}/{f}','w').write(f'{d} {f}\\n'*100)";
    fs::write(place.0.join("many.py"), many).unwrap();
    place.guest("python3 ../many.py");
    let now = std::time::Instant::now();
    println!("changes: {} in {:?}", layer.record().unwrap().list().len(), now.elapsed());
    let now = std::time::Instant::now();
    println!("again, remembered: {} in {:?}", layer.record().unwrap().list().len(), now.elapsed());
    let now = std::time::Instant::now();
    let applied = apply_all(&layer);
    println!("plan and apply of {}: {:?}", applied.files.len(), now.elapsed());
    let now = std::time::Instant::now();
    layer.undo(applied.number).unwrap();
    println!("undo: {:?}", now.elapsed());
    let now = std::time::Instant::now();
    layer.discard().unwrap();
    println!("discard: {:?}", now.elapsed());
}
