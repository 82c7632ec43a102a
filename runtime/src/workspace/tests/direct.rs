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
