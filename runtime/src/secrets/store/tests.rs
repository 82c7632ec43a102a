//! The store: what it keeps, and what it refuses, with hostile files as a table.

use super::*;
use crate::secrets::placeholder::tests::Dice;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

/// Long enough for somebody who waits to be seen waiting.
const TURN: Duration = Duration::from_millis(100);

/// A directory of its own, gone at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        use std::os::unix::fs::DirBuilderExt as _;
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("stockade-store-{}-{number}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).expect("a new directory");
        Self(path)
    }

    fn open(&self) -> Result<Store> {
        Store::open(&self.0, uid(), None, &Machine::system())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("secrets").join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).expect("a name")
}

fn value(text: &str) -> Deposit {
    Deposit::Value(Plain::new(text.as_bytes().to_vec()).expect("it fits"))
}

fn get(store: &Store, of: &str) -> Option<(u64, Vec<u8>, Option<Vec<u8>>)> {
    let stored = store.get(&name(of)).expect("it can be trusted")?;
    let bytes = |plain: Plain| plain.bytes().to_vec();
    Some((stored.version, stored.value.map(bytes).expect("the store holds it"), stored.previous.map(bytes)))
}

#[test]
fn secrets_are_kept_rotated_listed_and_forgotten() {
    let place = Place::new();
    let store = place.open().expect("it opens");
    assert_eq!(store.set(&name("a"), value("first value")).expect("it is new"), 1);
    assert_eq!(store.rotate(&name("a"), value("second value")).expect("it is there"), 2);
    assert_eq!(store.rotate(&name("a"), value("third value")).expect("it is there"), 3);
    let reference = Source::parse("exec:/bin/vault", &["-a b".to_owned()]).expect("a source");
    store.set(&name("b"), Deposit::Reference(reference.clone())).expect("it is new");
    // Another process.
    let store = place.open().expect("it opens");
    assert_eq!(get(&store, "a"), Some((3, b"third value".to_vec(), Some(b"second value".to_vec()))));
    assert_eq!(store.get(&name("b")).expect("trusted").expect("there").source, reference);
    let listed = store.list().expect("it can be trusted");
    let lines: Vec<_> =
        listed.iter().map(|one| (one.name.as_str(), one.version, one.previous, one.source.to_string())).collect();
    assert_eq!(lines, [("a", 3, Some(2), "store".to_owned()), ("b", 1, None, "exec:/bin/vault -a b".to_owned())]);
    for (error, expect) in [
        (store.set(&name("a"), value("again")).expect_err("it is there"), "error: there is a secret \"a\" already"),
        (store.rotate(&name("c"), value("again")).expect_err("none"), "error: there is no secret \"c\""),
        (store.remove(&name("c")).expect_err("none"), "error: there is no secret \"c\""),
    ] {
        assert!(error.to_string().starts_with(expect), "{error}");
    }
    store.remove(&name("a")).expect("it is there");
    assert_eq!(get(&store, "a"), None);
}

#[test]
fn no_file_of_the_store_has_a_value_or_can_be_read_by_others() {
    let place = Place::new();
    let store = place.open().expect("it opens");
    store.host_key().expect("a key");
    store.set(&name("a"), value("a value that is long enough")).expect("it is new");
    for entry in fs::read_dir(place.0.join("secrets")).expect("a directory") {
        let path = entry.expect("an entry").path();
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        let bytes = fs::read(&path).expect("it can be read");
        assert!(!bytes.windows(7).any(|window| window == b"a value"), "{}", path.display());
    }
    let mode = fs::metadata(place.0.join("secrets")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn what_others_could_read_or_put_there_is_refused() {
    type Harm = fn(&Place);
    let cases: [(&str, Harm, &str); 9] = [
        ("open directory", |p| mode(&p.0.join("secrets"), 0o750), "can be read or written by others"),
        ("readable store", |p| mode(&p.file("store"), 0o640), "can be read or written by others"),
        ("readable key", |p| mode(&p.file("key"), 0o604), "can be read or written by others"),
        ("store is a link", |p| swap_for_link(&p.file("store")), "is a symbolic link"),
        ("key is a link", |p| swap_for_link(&p.file("key")), "is a symbolic link"),
        (
            "store has two names",
            |p| fs::hard_link(p.file("store"), p.0.join("twin")).expect("a link"),
            "has a second name",
        ),
        ("store is a fifo", |p| fifo(&p.file("store")), "is not a regular file"),
        ("short key", |p| fs::write(p.file("key"), [1; 31]).expect("it is written"), "has not 32 bytes"),
        ("other key", |p| fs::write(p.file("key"), [1; 32]).expect("it is written"), "was sealed with another key"),
    ];
    for (what, harm, expect) in cases {
        let place = Place::new();
        place.open().expect("it opens").set(&name("a"), value("some value")).expect("it is new");
        harm(&place);
        let error = place.open().and_then(|store| store.list()).expect_err(what).to_string();
        assert!(error.contains(expect), "{what}: {error}");
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn swap_for_link(path: &Path) {
    let moved = path.with_extension("moved");
    fs::rename(path, &moved).expect("it moves");
    symlink(&moved, path).expect("a link");
}

fn fifo(path: &Path) {
    fs::remove_file(path).expect("it is there");
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR).expect("a fifo");
}

#[test]
fn a_crash_between_two_steps_leaves_the_old_or_the_new() {
    let place = Place::new();
    let store = place.open().expect("it opens");
    store.set(&name("a"), value("some value")).expect("it is new");
    // What a writer leaves that ends before its rename, at any length.
    for length in [0, 1, 100, 10_000] {
        fs::write(place.file("store.new"), vec![b'x'; length]).expect("it is written");
        assert_eq!(get(&store, "a").map(|(version, ..)| version), Some(1));
    }
    store.rotate(&name("a"), value("other value")).expect("the leftover is in nobody's way");
    assert!(!place.file("store.new").exists());
    assert_eq!(get(&store, "a").map(|(version, ..)| version), Some(2));
}

#[test]
fn many_who_change_it_at_once_lose_nothing() {
    let place = Place::new();
    place.open().expect("it opens");
    std::thread::scope(|scope| {
        for number in 0..8 {
            let place = &place;
            scope.spawn(move || {
                let store = place.open().expect("it opens");
                store.set(&name(&format!("n{number}")), value("some value")).expect("it is new");
            });
        }
    });
    assert_eq!(place.open().and_then(|store| store.list()).expect("it can be trusted").len(), 8);
}

#[test]
fn a_credential_takes_the_place_of_the_key() {
    let place = Place::new();
    let credentials = place.0.join("credentials");
    fs::create_dir(&credentials).expect("a directory");
    fs::write(credentials.join(KEY_CREDENTIAL), [5; 40]).expect("it is written");
    mode(&credentials.join(KEY_CREDENTIAL), 0o400);
    let open = || Store::open(&place.0, uid(), Some(&credentials), &Machine::system());
    open().expect("it opens").set(&name("a"), value("some value")).expect("it is new");
    assert!(!place.file("key").exists(), "nothing that opens it is on disk");
    assert_eq!(get(&open().expect("it opens"), "a").map(|(version, ..)| version), Some(1));
    let without = place.open().and_then(|store| store.list()).expect_err("another key").to_string();
    assert!(without.contains("was sealed with another key"), "{without}");
    mode(&credentials.join(KEY_CREDENTIAL), 0o404);
    assert!(open().is_err(), "others could read it");
}

const KEY_BYTES: [u8; 32] = [7; 32];

/// A file with two secrets, one of them in two versions.
fn file() -> Vec<u8> {
    let keys = Keys::derive(&KEY_BYTES).expect("memory");
    let plain = |text: &str| Plain::new(text.as_bytes().to_vec()).expect("it fits");
    let seal = |of: &str, version, source: &Source, value: Option<&Plain>| {
        keys.seal((&name(of), version, 1), source, value, &Machine::system()).expect("it is sealed")
    };
    let entries = [
        seal("a", 1, &Source::Store, Some(&plain("old value"))),
        seal("a", 2, &Source::Store, Some(&plain("new value"))),
        seal("b", 1, &Source::Env("B".to_owned()), None),
    ];
    keys.write(&entries).expect("it fits")
}

/// The same file after lines were changed, with its outer seal made anew: by somebody who has half of the key.
fn resealed(change: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let text = String::from_utf8(file()).expect("JSON");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.pop();
    change(&mut lines);
    let mut body = lines.join("\n").into_bytes();
    body.push(b'\n');
    let mac = |key: &[u8], bytes: &[u8]| -> Vec<u8> {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).expect("any length");
        mac.update(bytes);
        mac.finalize().into_bytes().to_vec()
    };
    let seal: String =
        mac(&mac(&KEY_BYTES, b"seal the file"), &body).iter().map(|byte| format!("{byte:02x}")).collect();
    body.extend_from_slice(format!("{{\"seal\":\"{seal}\"}}\n").as_bytes());
    body
}

#[test]
fn a_hostile_file_is_refused() {
    assert_eq!(check_file(&KEY_BYTES, &file()).expect("it is whole"), 3);
    assert_eq!(check_file(&KEY_BYTES, &resealed(|_| ())).expect("it is whole"), 3);
    let swap = |from: &'static str, to: &'static str| {
        move |lines: &mut Vec<String>| {
            for line in lines.iter_mut() {
                *line = line.replace(from, to);
            }
        }
    };
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("nothing", Vec::new(), "its end is missing"),
        ("a newline", b"\n".to_vec(), "its end is missing"),
        ("no end", file()[..file().len() - 1].to_vec(), "its end is missing"),
        ("a line less", text(|lines| drop(lines.remove(2))), "its seal is broken"),
        ("a line twice", text(|lines| lines.insert(2, lines[1].clone())), "its seal is broken"),
        ("another name", resealed(swap("\"name\":\"a\"", "\"name\":\"c\"")), "its entry \"c\" was altered"),
        ("another version", resealed(swap("\"version\":2", "\"version\":3")), "its entry \"a\" was altered"),
        ("another age", resealed(swap("\"made_s\":1", "\"made_s\":2")), "its entry \"a\" was altered"),
        ("another source", resealed(swap("[\"env\",\"B\"]", "[\"exec\",\"/bin/sh\"]")), "its entry \"b\" was altered"),
        (
            "value of another",
            resealed(|lines| {
                let sealed =
                    |line: &str| line.split_once("\"nonce\"").map(|(_, rest)| rest.to_owned()).expect("it has one");
                let (head, _) = lines[2]
                    .split_once("\"nonce\"")
                    .map(|(head, rest)| (head.to_owned(), rest.to_owned()))
                    .expect("it has one");
                lines[2] = format!("{head}\"nonce\"{}", sealed(&lines[1]));
            }),
            "its entry \"a\" was altered",
        ),
        ("an unknown key", resealed(swap("\"made_s\":1", "\"made_s\":1,\"x\":1")), "a line is none of ours"),
        (
            "a newer format",
            resealed(swap("\"stockade_secrets\":1", "\"stockade_secrets\":2")),
            "the store has format 2",
        ),
    ];
    for (what, bytes, expect) in cases {
        let error = check_file(&KEY_BYTES, &bytes).expect_err(what).to_string();
        assert!(error.contains(expect), "{what}: {error}");
    }
}

/// The same file after lines were changed, without the key.
fn text(change: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    let text = String::from_utf8(file()).expect("JSON");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    (lines.join("\n") + "\n").into_bytes()
}

#[test]
fn no_byte_of_the_file_can_be_changed_or_cut() {
    let whole = file();
    let mut dice = Dice::new(3);
    for _ in 0..400 {
        let mut bytes = whole.clone();
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
        assert!(check_file(&KEY_BYTES, &bytes).is_err(), "byte {at}");
        assert!(check_file(&KEY_BYTES, &whole[..at]).is_err(), "cut at {at}");
        assert!(check_file(&KEY_BYTES, &dice.bytes(at)).is_err());
    }
}

#[test]
fn a_rotation_can_be_undone_and_what_succeeds_a_version_does_not_succeed_another() {
    let place = Place::new();
    let store = place.open().expect("it opens");
    store.set(&name("a"), value("one")).expect("it is new");
    let error = store.back(&name("a")).expect_err("there is none before").to_string();
    assert!(error.starts_with("error: secret \"a\" has no version before 1"), "{error}");
    store.rotate(&name("a"), value("two")).expect("it is there");
    assert_eq!(store.back(&name("a")).expect("there is one before"), 3);
    let found = store.get(&name("a")).expect("it can be trusted").expect("it is there");
    assert_eq!(found.value.expect("it is kept").bytes(), b"one");
    assert_eq!(found.previous.expect("it is kept").bytes(), b"two", "what was taken back may still come back");
    let new = Plain::new(b"three".to_vec()).expect("it fits");
    assert_eq!(store.succeed(&name("a"), 2, &new).expect("it can be trusted"), None);
    assert_eq!(store.succeed(&name("b"), 2, &new).expect("it can be trusted"), None);
    assert_eq!(store.succeed(&name("a"), 3, &new).expect("it can be trusted"), Some(4));
    assert_eq!(get(&store, "a").map(|(version, ..)| version), Some(4));
}

#[test]
fn turns_are_taken_one_by_one() {
    let place = Place::new();
    let (first, second) = (place.open().expect("it opens"), place.open().expect("it opens"));
    let held = first.turn(&name("a")).expect("nobody has it");
    second.turn(&name("b")).expect("another secret's turn is free");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| second.turn(&name("a")).map(drop));
        std::thread::sleep(TURN);
        assert!(!waiting.is_finished(), "two have the same turn");
        drop(held);
        waiting.join().expect("no panic").expect("it is free now");
    });
    // The store itself can be changed meanwhile.
    let _held = first.turn(&name("a")).expect("nobody has it");
    second.set(&name("a"), value("one")).expect("it is new");
}
