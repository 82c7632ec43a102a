//! The workspace itself: what a call changed is reported, what must not stay is taken out.

use super::super::*;
use super::support::{Place, path};
use std::fs;

fn rules(path: &RelPath) -> Treatment {
    match path.name() {
        b".envrc" => Treatment::Hold { rule: "runs-later".into() },
        b"hooks" => Treatment::Protect { rule: "hooks".into() },
        _ => Treatment::Free,
    }
}

#[test]
fn a_held_file_that_a_direct_call_made_waits_for_consent() {
    let place = Place::new("direct");
    for file in ["a", "b", "g/hooks/x", "deep/er/f"] {
        place.write(file, file);
    }
    let layer = Layer::create(&place.state(), &place.ws(), Mode::Direct, Method::Overlay).unwrap();
    let matches = layer.existing_matches(&rules).unwrap();
    assert_eq!(matches.found.iter().map(|found| found.path.clone()).collect::<Vec<_>>(), [path("g/hooks")]);
    assert_eq!(matches.pins.into_iter().collect::<Vec<_>>(), [path("g")]);
    let before = layer.snapshot().unwrap();
    place.write("a", "other");
    fs::remove_file(place.ws().join("b")).unwrap();
    place.write("deep/er/.envrc", "evil");
    let report = layer.after_direct_call(&before, &rules).unwrap();
    let kinds: Vec<_> = report.changes.iter().map(|change| (change.path.to_string(), change.kind())).collect();
    assert_eq!(
        kinds,
        [
            ("a".to_owned(), ChangeKind::Modified),
            ("b".to_owned(), ChangeKind::Deleted),
            ("deep/er/.envrc".to_owned(), ChangeKind::Created),
        ]
    );
    assert_eq!(report.changes[0].after().unwrap().sha256(), Some(Digest::of(b"other")));
    assert!(!place.ws().join("deep/er/.envrc").exists());
    let pending = layer.plan(&Selection::All, &rules, &[]).unwrap();
    assert_eq!(pending.left_out()[0].path, path("deep/er/.envrc"));
    let again = layer.after_direct_call(&report.after, &rules).unwrap();
    assert_eq!((again.changes.len(), again.quarantined.len()), (0, 0));
    let plan = layer.plan(&Selection::All, &rules, &[path("deep/er/.envrc")]).unwrap();
    layer.execute(&plan).unwrap();
    assert_eq!(fs::read_to_string(place.ws().join("deep/er/.envrc")).unwrap(), "evil");
}

#[test]
fn measures_are_those_that_git_gives() {
    let place = Place::new("measure");
    place.write("a", "one\ntwo\n");
    place.write("b", "binary\0");
    let layer = Layer::create(&place.state(), &place.ws(), Mode::Direct, Method::Overlay).unwrap();
    let before = layer.snapshot().unwrap();
    place.write("a", "one\nthree\nfour\n");
    place.write("b", "binary\0\0");
    place.write("new", "x\ny\n");
    std::os::unix::fs::symlink("a", place.ws().join("link")).unwrap();
    let report = layer.after_direct_call(&before, &rules).unwrap();
    let measured = |name: &str| {
        let change = report.changes.iter().find(|change| change.path == path(name)).unwrap();
        let measures = layer.measure(change).unwrap();
        let hex = |git: GitId| git.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        (measures.before.map(hex), measures.after.map(hex), measures.lines)
    };
    let id = |text: &str| Some(text.to_owned());
    // `git hash-object` says so.
    assert_eq!(measured("a"), (None, id("ceb5927d02ca251ad31be9d7f77b13c69fe0f67c"), None));
    assert_eq!(measured("new"), (None, id("b77b4eb1d946f923f61785536da9ca5af6909f06"), Some((2, 0))));
    assert_eq!(measured("link"), (None, id("2e65efe2a145dda7ee51d1741299f848e5bf752e"), None));
    place.write("new", "changed meanwhile\n");
    assert_eq!(measured("new"), (None, None, None), "what is not what the change names is not reported");
}

/// A file becomes a link, another file and nothing, as fast as somebody can, while the workspace is compared.
#[test]
fn what_others_change_meanwhile_does_not_end_a_comparison() {
    let place = Place::new("meanwhile");
    place.write("a", "one");
    let layer = Layer::create(&place.state(), &place.ws(), Mode::Direct, Method::Overlay).unwrap();
    let before = layer.snapshot().unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    let (file, other) = (place.ws().join("swap"), place.ws().join("other"));
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                std::os::unix::fs::symlink("a", &other).unwrap();
                fs::rename(&other, &file).unwrap();
                fs::write(&other, "text").unwrap();
                fs::rename(&other, &file).unwrap();
                fs::remove_file(&file).unwrap();
            }
        });
        let (mut compared, mut turns) = (Vec::new(), 0);
        // Until it was there at least once: on a busy machine nobody swaps anything for a while.
        let is_seen = |compared: &[_]| compared.iter().any(|count| *count > 0);
        while turns < 2000 || (turns < 200_000 && !is_seen(&compared)) {
            compared.push(layer.after_direct_call(&before, &rules).map_or(usize::MAX, |report| report.changes.len()));
            turns += 1;
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        swapping.join().unwrap();
        assert!(!compared.contains(&usize::MAX), "a comparison was ended");
        assert!(is_seen(&compared), "nothing was ever there");
    });
}
