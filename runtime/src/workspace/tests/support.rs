//! What the workspace's tests share: temporary places, trees as data, a guest in a user namespace.

use super::super::*;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A directory that is removed at the end.
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    pub(super) fn new(name: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("stockade-{name}-{}-{number}", std::process::id()));
        for dir in ["", "ws", "state"] {
            fs::create_dir_all(path.join(dir)).unwrap();
        }
        Self(path)
    }
    pub(super) fn ws(&self) -> PathBuf {
        self.0.join("ws")
    }
    pub(super) fn state(&self) -> PathBuf {
        self.0.join("state")
    }
    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.ws().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    pub(super) fn layer(&self) -> Layer {
        Layer::create(&self.state(), &self.ws(), Mode::Review, Method::Overlay).unwrap()
    }
    /// Runs a shell script in the overlay, as a guest would.
    pub(super) fn guest(&self, script: &str) {
        fs::create_dir_all(self.0.join("mnt")).unwrap();
        let mount = "mount -t overlay overlay -o userxattr,lowerdir=ws,upperdir=state/layer/upper,workdir=state/layer/work mnt && cd mnt && ";
        run("unshare", &["-Urm", "sh", "-euc", &format!("{mount}{script}")], &self.0, "");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let parent = door::Dir::open_ambient(self.0.parent().unwrap()).unwrap();
        copy::remove_tree(&parent, self.0.file_name().unwrap().as_bytes()).unwrap();
    }
}

#[expect(clippy::disallowed_methods, reason = "the reference is what other programs do")]
pub(super) fn run(program: &str, arguments: &[&str], at: &Path, input: &str) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(at)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

pub(super) fn free(_: &RelPath) -> Treatment {
    Treatment::Free
}

pub(super) fn apply_all(layer: &Layer) -> Applied {
    let plan = layer.plan(&Selection::All, &free, &[]).unwrap();
    layer.execute(&plan).unwrap()
}

/// Whether times of files are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Compared,
    Ignored,
}

/// Everything about a tree that matters, by path: type, permissions, content, attributes, and who shares its inode.
pub(super) fn tree(root: &Path, times: Times) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut groups: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    visit(root, root, times, &mut found, &mut groups);
    for names in groups.values().filter(|names| names.len() > 1) {
        for name in names {
            found.get_mut(name).unwrap().push_str(&format!(" links {names:?}"));
        }
    }
    found
}

fn visit(
    root: &Path,
    at: &Path,
    times: Times,
    found: &mut BTreeMap<Vec<u8>, String>,
    groups: &mut BTreeMap<u64, Vec<Vec<u8>>>,
) {
    let dir = door::Dir::open_ambient(at).unwrap();
    for name in dir.names().unwrap() {
        let path = at.join(OsStr::from_bytes(&name));
        let meta = fs::symlink_metadata(&path).unwrap();
        let bits = meta.mode() & 0o7777;
        let needed = if meta.is_dir() { 0o700 } else { 0o400 };
        let locked = !meta.is_symlink() && bits & needed != needed && !door::is_root();
        if locked {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits | 0o700)).unwrap();
        }
        let key = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let content = if meta.is_dir() {
            visit(root, &path, times, found, groups);
            "dir".to_owned()
        } else if meta.is_symlink() {
            format!("link {:?}", fs::read_link(&path).unwrap())
        } else if meta.is_file() {
            groups.entry(meta.ino()).or_default().push(key.clone());
            let time = if times == Times::Compared { (meta.mtime(), meta.mtime_nsec()) } else { (0, 0) };
            format!("file {} {time:?}", Digest::of(&fs::read(&path).unwrap()))
        } else {
            "special".to_owned()
        };
        let bits = if meta.is_symlink() { 0 } else { bits };
        found.insert(key, format!("{content} {bits:o} {:?}", dir.xattrs(&name).unwrap()));
        if locked {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        }
    }
}
