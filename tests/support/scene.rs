//! A stage for one test: directories on the host, the names that commands use for them, and a print of what is there.
//! It never reuses a stage, and leaves nothing behind unless STOCKADE_TESTS_KEEP is set.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::binaries;
use crate::people::Person;
use crate::wall;

/// Where stages are built, the first that can be used: on a real file system (a private tmpfs lies over `/tmp` inside, and
/// `/var/tmp` is a link to it there), and reachable for everybody.
const GROUNDS: [&str; 3] = ["/srv", "/var/tmp", "/tmp"];
/// The same for sandboxes in containers, where `/srv` and `/var` are the image's.
const GROUNDS_IN_CONTAINERS: [&str; 2] = ["/home", "/mnt"];

/// A stage.
#[derive(Debug)]
pub struct Scene {
    root: PathBuf,
    names: BTreeMap<String, String>,
    person: Person,
}

impl Scene {
    /// Builds a stage for a person: `{ws}` the workspace, `{hidden}` what no profile names, `{readable}` what the profile
    /// lets be read, `{home}`, `{state}`, `{bin}` with the programs. Outside directories and files can be written by
    /// everybody, so that it is the wall that holds and not a permission bit.
    ///
    /// # Errors
    /// The system's.
    pub fn new(person: Person, programs: &[(&str, &Path)]) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let root = ground()?.join(format!("{:05}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let mut scene = Self { root, names: BTreeMap::new(), person };
        scene.directory("", 0o755)?;
        for (name, mode) in [("ws", 0o755), ("hidden", 0o777), ("readable", 0o777), ("home", 0o755), ("state", 0o700)] {
            scene.directory(name, mode)?;
            scene.name(name, &scene.root.join(name).display().to_string());
        }
        let bin = shared_programs(programs)?;
        scene.name("bin", &bin.display().to_string());
        scene.name("uid", &person.uid().to_string());
        scene.name("root", &scene.root.display().to_string());
        // For scripts, which the words of a command line are not added to.
        scene.name("wall", &wall::options().join(" "));
        Ok(scene)
    }

    /// As whom the stage is used.
    pub fn person(&self) -> Person {
        self.person
    }

    /// Gives `{name}` a value.
    pub fn name(&mut self, name: &str, value: &str) {
        self.names.insert(name.to_owned(), value.to_owned());
    }

    /// Replaces every `{name}`.
    pub fn fill(&self, template: &str) -> String {
        self.names.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// A path, its names replaced.
    pub fn path(&self, template: &str) -> PathBuf {
        PathBuf::from(self.fill(template))
    }

    fn directory(&self, name: &str, mode: u32) -> io::Result<()> {
        let path = self.root.join(name);
        fs::create_dir(&path)?;
        self.hand_over(&path, mode)
    }

    fn hand_over(&self, path: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        match self.person.switch() {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// Makes the missing directories above a path, the person's.
    fn parents(&self, path: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|above| !above.exists()).collect();
        for above in missing.into_iter().rev() {
            fs::create_dir(above)?;
            self.hand_over(above, 0o777)?;
        }
        Ok(())
    }

    /// Makes a file that everybody may write.
    ///
    /// # Errors
    /// The system's.
    pub fn file(&self, template: &str, content: &str) -> io::Result<()> {
        self.file_with_mode(template, content, 0o666)
    }

    /// Makes a file.
    ///
    /// # Errors
    /// The system's.
    pub fn file_with_mode(&self, template: &str, content: &str, mode: u32) -> io::Result<()> {
        let path = self.path(template);
        self.parents(&path)?;
        fs::write(&path, self.fill(content))?;
        self.hand_over(&path, mode)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// The system's.
    pub fn folder(&self, template: &str) -> io::Result<()> {
        let path = self.path(template);
        self.parents(&path)?;
        fs::create_dir(&path)?;
        self.hand_over(&path, 0o777)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// The system's.
    pub fn link(&self, template: &str, target: &str) -> io::Result<()> {
        let path = self.path(template);
        self.parents(&path)?;
        std::os::unix::fs::symlink(self.fill(target), path)
    }

    /// A print of everything below a path: kind, mode, owner, size, times of change, content. Two prints differ when
    /// anything was changed, attributes included (those move the ctime).
    pub fn print(&self, template: &str) -> String {
        let mut text = String::new();
        print_below(&self.path(template), &mut text);
        text
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if binaries::variable("STOCKADE_TESTS_KEEP").is_none() && fs::remove_dir_all(&self.root).is_err() {
            // A guest may have left a directory without permissions; its owner can mend that, and root need not.
            mend(&self.root);
            drop(fs::remove_dir_all(&self.root));
        }
    }
}

fn mend(directory: &Path) {
    drop(fs::set_permissions(directory, Permissions::from_mode(0o700)));
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        mend(&entry.path());
    }
}

fn print_below(path: &Path, text: &mut String) {
    let Ok(data) = fs::symlink_metadata(path) else {
        writeln!(text, "{}: absent", path.display()).expect("a String takes all");
        return;
    };
    // A socket or a device is not read: its metadata is all there is. Directories' times tell of entries come and gone.
    let content = if data.is_file() {
        fs::read(path).map(|bytes| format!("{bytes:?}")).unwrap_or_default()
    } else {
        String::new()
    };
    let times = (data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec());
    let (mode, uid, gid, size, links) = (data.mode(), data.uid(), data.gid(), data.size(), data.nlink());
    writeln!(text, "{} {mode:o} {uid} {gid} {size} {links} {times:?} {content}", path.display())
        .expect("a String takes all");
    if data.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| print_below(entry, text));
    }
}

/// The directory of this process's stages.
fn ground() -> io::Result<&'static Path> {
    static GROUND_OF_PROCESS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = GROUND_OF_PROCESS.get_or_init(|| {
        let name = format!("stockade-tests-{}", std::process::id());
        let grounds = if wall::is_container() { &GROUNDS_IN_CONTAINERS[..] } else { &GROUNDS };
        let path = grounds.iter().map(|ground| Path::new(ground).join(&name)).find(|path| fs::create_dir(path).is_ok());
        let path = path.ok_or_else(|| format!("none of {grounds:?} can be written"))?;
        fs::set_permissions(&path, Permissions::from_mode(0o755)).map(|()| path).map_err(|e| e.to_string())
    });
    made.as_deref().map_err(|e| io::Error::other(e.clone()))
}

/// A directory with copies of the programs, where an ordinary user can reach them too.
fn shared_programs(programs: &[(&str, &Path)]) -> io::Result<PathBuf> {
    static SHARED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let ground = ground()?;
    let shared = SHARED.get_or_init(|| {
        let bin = ground.join("bin");
        let copy = |(name, program): &(&str, &Path)| {
            fs::copy(program, bin.join(name))?;
            fs::set_permissions(bin.join(name), Permissions::from_mode(0o755))
        };
        let made = fs::create_dir(&bin)
            .and_then(|()| fs::set_permissions(&bin, Permissions::from_mode(0o755)))
            .and_then(|()| programs.iter().try_for_each(copy));
        made.map(|()| bin).map_err(|e| e.to_string())
    });
    shared.clone().map_err(io::Error::other)
}

/// Removes the directory of this process's stages; the last thing that a test program does.
pub fn clean_up() {
    if binaries::variable("STOCKADE_TESTS_KEEP").is_none()
        && let Ok(ground) = ground()
    {
        drop(fs::remove_dir_all(ground));
    }
}
