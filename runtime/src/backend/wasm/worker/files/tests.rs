//! Paths that were made to lead elsewhere, on the acts that a guest's calls become: each with what is told of it.
//! Every attack has its control: the same path, walked by the host's own resolver, leads out.

use super::*;
use crate::backend::wasm::call::Use;
use crate::backend::wasm::worker::outgoing::Out;
use crate::backend::wasm::worker::resolve::{Resolver, open_ambient_directory};
use crate::backend::wasm::worker::words::times;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime_wasi::p2::bindings::filesystem::types::NewTimestamp;

/// A view with a workspace in it, beside a secret that is outside of the view.
struct Scene {
    outside: PathBuf,
    state: FileState,
    /// The runtime that the ledger's channel is registered with.
    _runtime: tokio::runtime::Runtime,
    work: OwnedFd,
}

type Opened = (Descriptor, Option<Arc<OpenFile>>);

static NUMBER: AtomicUsize = AtomicUsize::new(0);

impl Scene {
    /// One with each resolver: whatever is tested here holds with both.
    fn each(files: Files) -> [Self; 2] {
        [Resolver::Kernel, Resolver::Walk].map(|resolver| Self::new(files, resolver))
    }

    fn new(files: Files, resolver: Resolver) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let outside = std::env::temp_dir().join(format!("stockade-files-{}-{number}", std::process::id()));
        fs::create_dir_all(outside.join("view/ws/sub")).expect("ours");
        fs::create_dir_all(outside.join("view/etc")).expect("ours");
        fs::write(outside.join("secret"), "secret").expect("ours");
        fs::write(outside.join("view/etc/hosts"), "inside").expect("ours");
        fs::write(outside.join("view/ws/file"), "own").expect("ours");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let (channel, _) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
        channel.set_nonblocking(true).expect("it can");
        let channel = {
            let _entered = runtime.enter();
            tokio::net::UnixDatagram::from_std(channel).expect("it registers")
        };
        let ledger = Arc::new(Ledger::new(0, Out::new(Arc::new(channel))));
        let open = |path: &Path| open_ambient_directory(path).expect("it is there");
        let (root, own) = (open(&outside.join("view")), open(Path::new("/proc/self/fd")));
        let tree = Tree::new(root, own, Mode::from_raw_mode(0o027)).expect("the view is there").by(resolver);
        let state = FileState::new(Arc::new(tree), files, b"/ws".to_vec(), ledger);
        let work = state.tree.directory(b"/ws").expect("it is there");
        Self { outside, state, _runtime: runtime, work }
    }

    fn view(&self) -> PathBuf {
        self.outside.join("view")
    }

    /// Opens a file as a guest that reads.
    fn read(&self, path: &str) -> Result<String, Errno> {
        let asked =
            Asked::new(PathFlags::SYMLINK_FOLLOW, OpenFlags::empty(), DescriptorFlags::READ).expect("it can be");
        match self.state.open_at(self.work.as_fd(), path.as_bytes(), asked)?.0 {
            Descriptor::File(file) => Ok(std::io::read_to_string(&*file.file).expect("it is text")),
            Descriptor::Dir(_) => Err(Errno::ISDIR),
        }
    }

    /// Opens a file as a guest that writes, and makes it where it is not.
    fn write(&self, path: &str) -> Result<(), Errno> {
        let flags = DescriptorFlags::WRITE;
        let asked = Asked::new(PathFlags::SYMLINK_FOLLOW, OpenFlags::CREATE | OpenFlags::TRUNCATE, flags);
        self.state.open_at(self.work.as_fd(), path.as_bytes(), asked.expect("it can be")).map(drop)
    }

    /// Opens something as a guest that looks.
    fn open(&self, path: &str) -> Result<Opened, Errno> {
        let asked = Asked::new(PathFlags::SYMLINK_FOLLOW, OpenFlags::empty(), DescriptorFlags::READ);
        self.state.open_at(self.work.as_fd(), path.as_bytes(), asked.expect("it can be"))
    }

    /// Makes a file as a guest that makes only new ones.
    fn make(&self, path: &str) {
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let asked = Asked::new(PathFlags::empty(), flags, DescriptorFlags::WRITE).expect("it can be");
        self.state.open_at(self.work.as_fd(), path.as_bytes(), asked).map(drop).expect("it can be made");
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        let work = self.work.as_fd();
        self.state.rename((work, from.as_bytes()), (work, to.as_bytes()))
    }

    fn mode(&self, path: &str) -> u32 {
        let about = fs::symlink_metadata(self.view().join("ws").join(path)).expect("it is there");
        about.permissions().mode() & 0o7777
    }

    fn set_mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.view().join("ws").join(path), fs::Permissions::from_mode(mode)).expect("ours");
    }

    /// What was told since the last time.
    fn told(&self) -> Vec<Use> {
        self.state.ledger.take()
    }

    #[track_caller]
    fn told_once(&self, what: &What, path: &str, errno: Option<Errno>) {
        let told = self.told();
        let [one] = told.as_slice() else { panic!("one use was told: {told:?}") };
        assert_eq!((&one.what, one.path.as_slice()), (what, path.as_bytes()), "{one:?}");
        assert_eq!(one.errno, errno.map(Errno::raw_os_error), "{one:?}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.outside).expect("ours");
    }
}

/// Names that lead to the secret outside, if they are followed as the host follows them.
fn plants(scene: &Scene) -> Vec<&'static str> {
    let work = scene.view().join("ws");
    let secret = scene.outside.join("secret");
    symlink("../../secret", work.join("dots")).expect("ours");
    symlink(&secret, work.join("absolute")).expect("ours");
    symlink("../..", work.join("up")).expect("ours");
    symlink(&scene.outside, work.join("out")).expect("ours");
    symlink("absolute", work.join("twice")).expect("ours");
    symlink("/proc/self/root", work.join("magic")).expect("ours");
    vec!["../../secret", "sub/../../../secret", "dots", "absolute", "up/secret", "out/secret", "twice", "sub/.././dots"]
}

#[test]
fn no_planted_name_leads_out_of_the_view() {
    for scene in Scene::each(Files::Write) {
        for path in plants(&scene) {
            let host = scene.view().join("ws").join(path);
            assert_eq!(fs::read_to_string(host).expect("the control leads out"), "secret", "{path}");
            let read = scene.read(path);
            assert!(matches!(read, Err(Errno::PERM | Errno::NOENT)), "{path}: {read:?}");
            let made = scene.write(&format!("{path}.new"));
            assert!(!matches!(made, Ok(())) || !scene.outside.join("secret.new").exists(), "{path}");
            assert_eq!(fs::read_to_string(scene.outside.join("secret")).expect("it is there"), "secret");
            for slash in ["/", "/.", "//"] {
                assert!(scene.read(&format!("{path}{slash}")).is_err(), "{path}{slash}");
            }
        }
        assert!(scene.read("magic/etc/hostname").is_err(), "no way through /proc");
        assert!(scene.read("/etc/hosts").is_err(), "WASI has no absolute paths");
    }
}

#[test]
fn no_change_reaches_through_a_planted_name() {
    for scene in Scene::each(Files::Write) {
        let work = scene.work.as_fd();
        plants(&scene);
        let before = fs::metadata(scene.outside.join("secret")).expect("there").modified().expect("a time");
        let at = |path: &'static str| (work, path.as_bytes());
        for path in ["up/secret", "out/secret", "../../secret"] {
            assert!(scene.state.unlink(work, path.as_bytes()).is_err(), "{path}");
            assert!(scene.state.rename(at(path), at("mine")).is_err(), "{path}");
            assert!(scene.state.link(at(path), at("mine")).is_err(), "{path}");
            // Where the view ends, `..` leads nowhere: what is made by such a name is made in the view, as a command would.
            match scene.state.make_directory(work, format!("{path}.d").as_bytes()) {
                Ok(()) => assert!(scene.view().join("secret.d").exists(), "{path}"),
                Err(errno) => assert!(matches!(errno, Errno::PERM | Errno::NOENT | Errno::EXIST), "{path}: {errno}"),
            }
            let now = times(NewTimestamp::Now, NewTimestamp::Now).expect("now");
            for follow in [Follow::Links, Follow::Nothing] {
                assert!(scene.state.set_times_at(work, path.as_bytes(), follow, &now).is_err(), "{path}");
            }
        }
        // On the links themselves it acts, and on nothing behind them.
        for path in ["dots", "absolute"] {
            assert_eq!(
                scene.state.unlink(work, format!("{path}/").as_bytes()),
                Err(Errno::NOTDIR),
                "a slash follows nothing"
            );
            scene.state.unlink(work, path.as_bytes()).expect("it is the guest's");
        }
        assert_eq!(fs::read_to_string(scene.outside.join("secret")).expect("there"), "secret");
        assert_eq!(fs::metadata(scene.outside.join("secret")).expect("there").modified().expect("a time"), before);
        assert_eq!(fs::read_dir(&scene.outside).expect("there").count(), 2, "nothing was made beside the view");
    }
}

#[test]
fn a_link_inside_the_view_is_followed_as_a_command_follows_it() {
    for scene in Scene::each(Files::Write) {
        let work = scene.view().join("ws");
        symlink("/etc/hosts", work.join("hosts")).expect("ours");
        symlink("../etc", work.join("etc")).expect("ours");
        assert_eq!(scene.read("hosts").expect("it is in the view"), "inside");
        scene.told_once(&What::Read, "/etc/hosts", None);
        assert_eq!(scene.read("etc/hosts").expect("it is in the view"), "inside");
        scene.told_once(&What::Read, "/etc/hosts", None);
    }
}

#[test]
fn what_is_told_is_the_object_and_not_the_path() {
    for scene in Scene::each(Files::Write) {
        let work = scene.view().join("ws");
        fs::create_dir(work.join(".git")).expect("ours");
        symlink(".git", work.join("g")).expect("ours");
        for path in ["g/config", "./.git/../.git/config", "sub/../g/config"] {
            scene.write(path).expect("the kernel lets it");
            let flags = Opening { create: true, truncate: true, ..Opening::default() };
            scene.told_once(&What::Open(flags), "/ws/.git/config", None);
        }
        scene.state.rename((scene.work.as_fd(), b"g/config"), (scene.work.as_fd(), b"sub/../moved")).expect("it can");
        scene.told_once(&What::Rename { to: b"/ws/moved".to_vec() }, "/ws/.git/config", None);
        scene.state.unlink(scene.work.as_fd(), b"./moved").expect("it can");
        scene.told_once(&What::Unlink, "/ws/moved", None);
        assert_eq!(scene.read("g/nothing"), Err(Errno::NOENT));
        scene.told_once(&What::Read, "/ws/.git/nothing", Some(Errno::NOENT));
    }
}

#[test]
fn a_grant_to_read_changes_nothing() {
    for scene in Scene::each(Files::Read) {
        let work = scene.work.as_fd();
        assert_eq!(scene.read("file").expect("it may"), "own");
        scene.told();
        let at = |path: &'static str| (work, path.as_bytes());
        let now = times(NewTimestamp::Now, NewTimestamp::Now).expect("now");
        let refusals: [(&str, Result<(), Errno>); 8] = [
            ("open", scene.write("file")),
            ("unlink", scene.state.unlink(work, b"file")),
            ("rmdir", scene.state.remove_directory(work, b"sub")),
            ("mkdir", scene.state.make_directory(work, b"new")),
            ("rename", scene.state.rename(at("file"), at("other"))),
            ("link", scene.state.link(at("file"), at("other"))),
            ("symlink", scene.state.make_symlink(work, b"file", b"other")),
            ("times", scene.state.set_times_at(work, b"file", Follow::Links, &now)),
        ];
        for (what, refusal) in refusals {
            assert_eq!(refusal, Err(Errno::ROFS), "{what}");
        }
        assert_eq!(scene.told().len(), 8, "each refusal is told");
        assert_eq!(fs::read_to_string(scene.view().join("ws/file")).expect("there"), "own");
        assert_eq!(fs::read_dir(scene.view().join("ws")).expect("there").count(), 2);
    }
}

#[test]
fn a_pipe_or_a_device_holds_up_nobody() {
    for scene in Scene::each(Files::Write) {
        let work = scene.view().join("ws");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, work.join("pipe"), FileType::Fifo, mode, 0).expect("a pipe");
        symlink("pipe", work.join("to-pipe")).expect("ours");
        for path in ["pipe", "to-pipe"] {
            assert_eq!(scene.read(path), Err(Errno::NXIO), "{path}: it would wait for a writer");
            assert_eq!(scene.write(path), Err(Errno::NXIO), "{path}");
        }
    }
}

#[test]
fn a_call_has_an_end_of_descriptors() {
    for mut scene in Scene::each(Files::Read) {
        for number in 0..OPEN_MAX {
            scene.state.opened(u32::try_from(number).expect("few"), None);
        }
        assert_eq!(scene.read("file"), Err(Errno::MFILE));
        scene.state.closed(0);
        assert_eq!(scene.read("file").expect("one was closed"), "own");
        assert!(matches!(scene.state.beginnings(), Err(Errno::MFILE)), "nor does it begin again with three more");
        (1..BEGINNINGS).for_each(|number| scene.state.closed(u32::try_from(number).expect("few")));
        assert_eq!(scene.state.beginnings().expect("three were closed").len(), BEGINNINGS);
    }
}

#[test]
fn a_stream_holds_its_file_after_the_descriptor_is_closed() {
    for mut scene in Scene::each(Files::Read) {
        let mut streams = Vec::new();
        for number in 0..OPEN_MAX {
            let (_, file) = scene.open("file").expect("there is room");
            let number = u32::try_from(number).expect("few");
            scene.state.opened(number, file);
            // As a stream of it does, which stays when the descriptor goes.
            streams.push(scene.state.file(number).cloned().expect("it is open"));
            scene.state.closed(number);
        }
        assert!(matches!(scene.open("file"), Err(Errno::MFILE)));
        streams.pop();
        scene.open("file").expect("one is gone");
    }
}

#[test]
fn a_call_has_an_end_of_listed_entries() {
    for mut scene in Scene::each(Files::Read) {
        let work = scene.state.tree.directory(b"/ws").expect("it is there");
        // Of the host's two: a directory and a file, and the dots.
        assert_eq!(scene.state.listing(work.as_fd()), Ok(4));
        scene.state.listed(7, LISTED_MAX - 4);
        assert_eq!(scene.state.listing(work.as_fd()), Ok(4), "as many as there is room for");
        scene.state.listed(8, 1);
        scene.told();
        assert_eq!(scene.state.listing(work.as_fd()), Err(Errno::NOMEM));
        scene.told_once(&What::List, "/ws", Some(Errno::NOMEM));
        scene.state.unlisted(8);
        assert_eq!(scene.state.listing(work.as_fd()), Ok(4), "one was closed");
    }
}

#[test]
fn a_directory_that_is_opened_is_told() {
    for scene in Scene::each(Files::Read) {
        scene.open("sub/../sub").expect("it is there");
        scene.told_once(&What::Stat, "/ws/sub", None);
    }
}

#[test]
fn what_a_link_would_have_said_is_not_kept_beyond_what_the_kernel_takes() {
    for scene in Scene::each(Files::Write) {
        let says = vec![b'x'; 2 * PATH_BYTES_MAX];
        let refused = scene.state.make_symlink(scene.work.as_fd(), &says, b"link");
        assert_eq!(refused, Err(Errno::NAMETOOLONG));
        scene.told_once(&What::Symlink { to: vec![b'x'; PATH_BYTES_MAX] }, "/ws/link", Some(Errno::NAMETOOLONG));
    }
}

/// A command's own files keep their permissions, whatever can be read of them, and links are no files.
#[test]
fn what_a_call_did_not_make_is_renamed_as_it_is() {
    for scene in Scene::each(Files::Write) {
        let work = scene.view().join("ws");
        symlink("sub", work.join("link")).expect("ours");
        symlink("nowhere", work.join("dangling")).expect("ours");
        fs::write(work.join("closed"), "closed").expect("ours");
        scene.set_mode("closed", 0o200);
        rustix::fs::mknodat(rustix::fs::CWD, work.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o604), 0)
            .expect("a pipe");
        for (path, mode) in [("link", 0o777), ("dangling", 0o777), ("closed", 0o200), ("pipe", scene.mode("pipe"))] {
            fs::write(work.join("target"), "old").expect("ours");
            scene.set_mode("target", 0o755);
            scene.rename(path, "target").unwrap_or_else(|errno| panic!("{path}: {errno}"));
            assert_eq!(scene.mode("target"), mode, "{path}");
            fs::remove_file(work.join("target")).expect("ours");
        }
    }
}

#[test]
fn a_file_that_waits_for_its_name_is_nobodys_to_read_before() {
    for scene in Scene::each(Files::Write) {
        let beside = ".stockade-write-0.tmp";
        // It takes the place of one, and its permissions.
        for mode in [0o755, 0o600, 0o200] {
            scene.make(beside);
            assert_eq!(scene.mode(beside), 0o600);
            scene.set_mode("file", mode);
            scene.rename(beside, "file").expect("it can");
            assert_eq!(scene.mode("file"), mode);
        }
        // It takes nobody's, and is a new file as any other.
        scene.make(beside);
        scene.rename(beside, ".stockade-write-1.tmp").expect("it can");
        assert_eq!(scene.mode(".stockade-write-1.tmp"), 0o600, "it still waits");
        scene.rename(".stockade-write-1.tmp", "sub/new").expect("it can");
        assert_eq!(scene.mode("sub/new"), 0o640);
        scene.make(beside);
        let work = scene.work.as_fd();
        scene.state.link((work, beside.as_bytes()), (work, b"linked")).expect("it can");
        assert_eq!(scene.mode("linked"), 0o640);
        // What has its name already keeps what it has, moved aside and back.
        scene.set_mode("sub/new", 0o700);
        scene.rename("sub/new", ".stockade-write-2.tmp").expect("it can");
        scene.rename(".stockade-write-2.tmp", "back").expect("it can");
        assert_eq!(scene.mode("back"), 0o700);
        // A file that was there before is nobody's to open, whatever its name is.
        fs::write(scene.view().join("ws/.stockade-write-3.tmp"), "left").expect("ours");
        scene.set_mode(".stockade-write-3.tmp", 0o604);
        scene.rename(".stockade-write-3.tmp", "left").expect("it can");
        assert_eq!(scene.mode("left"), 0o604);
    }
}

#[derive(Default)]
struct Stop(std::sync::atomic::AtomicBool);

struct Stopping<'a>(&'a Stop);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_race_of_renames_never_opens_what_is_outside() {
    for scene in Scene::each(Files::Write) {
        let work = scene.view().join("ws");
        fs::create_dir(work.join("real")).expect("ours");
        fs::write(work.join("real/secret"), "own").expect("ours");
        symlink(&scene.outside, work.join("evil")).expect("ours");
        let stop = Stop::default();
        std::thread::scope(|scope| {
            // Also when the test fails.
            let stopping = Stopping(&stop);
            scope.spawn(|| {
                // What a command of the session can do all the time: the directory and the link change places.
                while !stop.0.load(Ordering::SeqCst) {
                    for (from, to) in [("real", "spare"), ("evil", "real"), ("real", "evil"), ("spare", "real")] {
                        fs::rename(work.join(from), work.join(to)).expect("both are ours");
                    }
                }
            });
            let mut own = 0;
            for _ in 0..20_000 {
                match scene.read("real/secret") {
                    Ok(text) => {
                        assert_eq!(text, "own");
                        own += 1;
                    }
                    Err(Errno::NOENT | Errno::PERM | Errno::BUSY) => {}
                    Err(other) => panic!("{other}"),
                }
                if scene.state.unlink(scene.work.as_fd(), b"real/nothing").is_ok() {
                    panic!("there is no such file");
                }
            }
            drop(stopping);
            assert!(own > 0, "the race leaves some to be read");
        });
        assert_eq!(fs::read_to_string(scene.outside.join("secret")).expect("there"), "secret");
    }
}
