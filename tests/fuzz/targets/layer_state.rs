//! What lies beside a layer, altered: opening the layer ends in an answer, and changes nothing outside of its workspace.
//! It never leaves the directory that it makes for itself.
//!
//! Input: one byte that says which file is replaced, then that file. The rest is as an interrupted apply left it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use stockade::workspace::{Freshness, Layer, Method, Mode};

/// Files that the state is made of.
const FILES: [&str; 6] =
    ["seen.jsonl", "settled.jsonl", "apply/1/intent.jsonl", "apply/1/staged", "apply/1/done", "layer.json"];
/// An intent as an apply writes it, of five entries.
const INTENT: &str = include_str!("../intent.jsonl");
/// The host's file as that intent knows it. Inputs that say so mean the file that is there.
const KNOWN: &str = "[65024,1016405,11,1795268625,139059167,1795268625,139059167]";
/// What that apply had prepared in the workspace.
const PREPARED: [&str; 2] = [".stockade-9b24a6cacb1fc7c4-2", ".stockade-9b24a6cacb1fc7c4-4"];

fuzz_target!(|bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else { return };
    let root = ground();
    let (state, workspace) = (root.join("state"), root.join("workspace"));
    for directory in [&state, &workspace] {
        drop(fs::remove_dir_all(directory));
        fs::create_dir(directory).expect("a directory of our own");
    }
    fs::write(workspace.join("file"), "the host's\n").expect("a file of our own");
    drop(Layer::create(&state, &workspace, Mode::Review, Method::Overlay).expect("a new layer"));
    fs::write(state.join("layer/upper/file"), "the guest's\n").expect("a file of our own");
    let name = FILES[usize::from(*which) % FILES.len()];
    if name.starts_with("apply/") {
        fs::create_dir_all(state.join("apply/1/old")).expect("a directory of our own");
        PREPARED.iter().for_each(|name| fs::write(workspace.join(name), "the guest's\n").expect("a file of our own"));
        fs::write(state.join("apply/1/intent.jsonl"), with_stamp(INTENT, &workspace)).expect("a file of our own");
        if *which >= 128 {
            fs::write(state.join("apply/1/staged"), "").expect("a file of our own");
        }
    }
    match std::str::from_utf8(content) {
        Ok(text) => fs::write(state.join(name), with_stamp(text, &workspace)),
        Err(_) => fs::write(state.join(name), content),
    }
    .expect("a file of our own");
    if let Ok(layer) = Layer::open(&state) {
        drop(layer.changes(Freshness::Reuse));
        // An altered `layer.json` may name any directory: that is looked at, and never written to here.
        if name != "layer.json" {
            drop(layer.undo(1));
        }
    }
    let outside = fs::read(root.join("outside")).expect("the file outside is still there");
    assert_eq!(outside, b"outside\n", "a state changed a file outside of the workspace");
    let mut names: Vec<_> =
        fs::read_dir(root).expect("our directory").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["outside", "state", "workspace"], "a state made something outside of the workspace");
});

fn with_stamp(text: &str, workspace: &Path) -> String {
    let stat = fs::metadata(workspace.join("file")).expect("a file of our own");
    let (mtime, ctime) = ((stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec()));
    let stamp = (stat.dev(), stat.ino(), stat.size(), mtime.0, mtime.1, ctime.0, ctime.1);
    text.replace(KNOWN, &format!("{stamp:?}").replace('(', "[").replace(')', "]").replace(' ', ""))
}

/// A directory of this process, in memory: `tests/fuzz/run` removes it.
fn ground() -> &'static Path {
    static GROUND: OnceLock<PathBuf> = OnceLock::new();
    GROUND.get_or_init(|| {
        let scratch = std::env::var_os("STOCKADE_FUZZ_SCRATCH").unwrap_or_else(|| "/dev/shm".into());
        let root = Path::new(&scratch).join(format!("stockade-fuzz-{}", std::process::id()));
        fs::create_dir(&root).expect("the scratch directory can be written");
        fs::write(root.join("outside"), "outside\n").expect("a file of our own");
        root
    })
}
