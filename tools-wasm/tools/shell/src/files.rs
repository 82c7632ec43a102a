//! The session's files as the interpreter's file system: the standard library's calls on absolute paths, which a component's
//! host resolves below what it was given.
//!
//! It never follows a link on its own where the interpreter asks about the link itself, and never keeps a copy of a file.

use std::fs;
use std::io::{Error as IoError, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bashkit::{DirEntry, FileSystem, FileSystemExt, FileType, Metadata, Result, async_trait};

/// Files by their own absolute paths.
pub(crate) struct SessionFiles {
    /// What was given for certain; of the directories above it a host may give nothing.
    pub(crate) workspace: PathBuf,
}

/// The largest file that the interpreter takes into memory at once.
const FILE_BYTES_MAX: u64 = 256 << 20;
const DIRECTORY_MODE: u32 = 0o755;

#[async_trait]
impl FileSystemExt for SessionFiles {
    fn backend_kind(&self) -> &'static str {
        "session"
    }
}

#[async_trait]
impl FileSystem for SessionFiles {
    async fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        let whole = || {
            let mut file = fs::File::open(path)?;
            let found = file.metadata()?;
            if found.is_dir() {
                return Err(IoError::from(ErrorKind::IsADirectory));
            }
            if found.len() > FILE_BYTES_MAX {
                return Err(IoError::new(ErrorKind::FileTooLarge, "File too large"));
            }
            let mut content = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0).saturating_add(1));
            file.read_to_end(&mut content)?;
            Ok(content)
        };
        Ok(whole().map_err(|error| beyond_a_link(path, error))?)
    }

    async fn write_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        // In place, as `>` does it: the file keeps its inode, its mode and its other names.
        Ok(fs::write(path, content).map_err(|error| beyond_a_link(path, error))?)
    }

    async fn append_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        let append = || fs::OpenOptions::new().append(true).create(true).open(path)?.write_all(content);
        Ok(append().map_err(|error| beyond_a_link(path, error))?)
    }

    async fn mkdir(&self, path: &Path, recursive: bool) -> Result<()> {
        let made = if recursive { fs::create_dir_all(path) } else { fs::create_dir(path) };
        Ok(made.map_err(|error| beyond_a_link(path, error))?)
    }

    async fn remove(&self, path: &Path, recursive: bool) -> Result<()> {
        let remove = || {
            if !fs::symlink_metadata(path)?.is_dir() {
                fs::remove_file(path)
            } else if recursive {
                remove_tree(path)
            } else {
                fs::remove_dir(path)
            }
        };
        Ok(remove().map_err(|error| beyond_a_link(path, error))?)
    }

    async fn stat(&self, path: &Path) -> Result<Metadata> {
        // The interpreter's own layer above follows links; below it every question is about the name itself.
        match fs::symlink_metadata(path) {
            Ok(found) => Ok(metadata(&found)),
            // Tools that resolve a path ask for each directory on the way to it.
            Err(_) if path != self.workspace && self.workspace.starts_with(path) => Ok(Metadata {
                file_type: FileType::Directory,
                size: 0,
                mode: DIRECTORY_MODE,
                modified: SystemTime::UNIX_EPOCH,
                created: SystemTime::UNIX_EPOCH,
            }),
            Err(error) => Err(beyond_a_link(path, error).into()),
        }
    }

    async fn read_dir(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let list = || {
            let mut entries = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                entries.push(DirEntry {
                    name: entry.file_name().to_string_lossy().into_owned(),
                    metadata: metadata(&entry.metadata()?),
                });
            }
            entries.sort_by(|one, other| one.name.cmp(&other.name));
            Ok::<_, IoError>(entries)
        };
        Ok(list().map_err(|error| beyond_a_link(path, error))?)
    }

    async fn exists(&self, path: &Path) -> Result<bool> {
        Ok(fs::symlink_metadata(path).is_ok())
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        Ok(fs::rename(from, to).map_err(|error| beyond_a_link(from, beyond_a_link(to, error)))?)
    }

    async fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let found = fs::symlink_metadata(from)?;
        if found.is_symlink() {
            return self.symlink(&fs::read_link(from)?, to).await;
        }
        let content = self.read_file(from).await?;
        self.write_file(to, &content).await
    }

    async fn symlink(&self, target: &Path, link: &Path) -> Result<()> {
        Ok(make_link(target, link).map_err(|error| beyond_a_link(link, error))?)
    }

    async fn read_link(&self, path: &Path) -> Result<PathBuf> {
        Ok(fs::read_link(path).map_err(|error| beyond_a_link(path, error))?)
    }

    async fn chmod(&self, _path: &Path, _mode: u32) -> Result<()> {
        // WASI knows no modes. Commands whose purpose is a mode are refused before they start; those that only carry one
        // along (`cp`, `sed -i`) write in place and so keep the mode of a file that is there.
        Ok(())
    }

    async fn set_modified_time(&self, path: &Path, time: SystemTime) -> Result<()> {
        let set = || fs::File::open(path)?.set_modified(time);
        Ok(set().map_err(|error| beyond_a_link(path, error))?)
    }
}

/// What is there, for the interpreter. Modes are what the kernel gives new files by default, because WASI has none to ask for.
fn metadata(found: &fs::Metadata) -> Metadata {
    let kind = found.file_type();
    let (file_type, mode) = if kind.is_dir() {
        (FileType::Directory, DIRECTORY_MODE)
    } else if kind.is_symlink() {
        (FileType::Symlink, 0o777)
    } else {
        (FileType::File, 0o644)
    };
    Metadata {
        file_type,
        size: found.len(),
        mode,
        modified: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        created: found.created().unwrap_or(SystemTime::UNIX_EPOCH),
    }
}

/// A host refuses to follow an absolute link ("not permitted"), and the interpreter's link-following layer then would not try:
/// it takes a refusal for one about rights. Where the path goes through a link the error is made one that it does retry, on the
/// path that it resolves itself, link by link.
fn beyond_a_link(path: &Path, error: IoError) -> IoError {
    if error.kind() != ErrorKind::PermissionDenied {
        return error;
    }
    let through_link = path.ancestors().any(|part| fs::symlink_metadata(part).is_ok_and(|found| found.is_symlink()));
    if through_link { IoError::other("Operation not permitted") } else { error }
}

/// Removes a directory and what is in it, links as links.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()? {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(target_os = "wasi")]
fn make_link(target: &Path, link: &Path) -> std::io::Result<()> {
    crate::guest::make_link(target, link)
}

#[cfg(unix)]
fn make_link(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}
