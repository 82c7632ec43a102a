//! Reading and writing the small files of control groups.
//! It never follows what a guest wrote: the kernel makes all these files.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Longest file that is read: the list of processes of a full group.
const FILE_BYTES_MAX: u64 = 1 << 20;

pub(super) fn join(directory: &Path, name: &str) -> PathBuf {
    directory.join(name)
}

/// The text of a file, up to a bound.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes in one call, as the kernel wants it, and makes no file.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// A file with one number.
pub(super) fn count(path: &Path) -> Option<u64> {
    read(path).ok()?.trim().parse().ok()
}

/// The number in an open file, as it is now.
pub(super) fn count_now(file: &fs::File) -> Option<u64> {
    text_now(file, |text| text.trim().parse().ok())
}

/// The number behind a key in an open file with a key and a number on each line, as it is now.
pub(super) fn keyed_now(file: &fs::File, key: &str) -> Option<u64> {
    text_now(file, |text| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok()))
}

/// Reads an open file from its beginning, where the kernel makes the text anew.
fn text_now(file: &fs::File, look: impl FnOnce(&str) -> Option<u64>) -> Option<u64> {
    use std::os::unix::fs::FileExt as _;
    // The counters that are read so stand in the first lines.
    let mut buffer = [0; 1024];
    let length = file.read_at(&mut buffer, 0).ok()?;
    look(std::str::from_utf8(buffer.get(..length)?).ok()?)
}

/// Makes a group.
pub(super) fn make(parent: &Path, name: &str) -> Result<PathBuf, String> {
    let path = parent.join(name);
    match fs::create_dir(&path) {
        Ok(()) => Ok(path),
        Err(error) => Err(format!("cannot make \"{}\": {}", path.display(), error.kind())),
    }
}

/// Removes a group; `true` when it is gone.
pub(super) fn remove(path: &Path) -> bool {
    match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Sets a limit and reads it back: the kernel rounds to pages, and may refuse in silence.
pub(super) fn set(group: &Path, file: &str, value: u64) -> Result<(), String> {
    let path = group.join(file);
    write(&path, &value.to_string()).map_err(|error| format!("cannot set {file}: {}", error.kind()))?;
    match read(&path).map(|text| text.trim().parse::<u64>()) {
        Ok(Ok(found)) if found <= value => Ok(()),
        // "max" and rounded-up huge values: the limit is beyond what the kernel counts to.
        Ok(_) if value > i64::MAX.cast_unsigned() / 2 => Ok(()),
        found => Err(format!("{file} was set to {value} and reads {found:?}")),
    }
}

/// The same for a file that some kernels lack.
pub(super) fn set_if_there(group: &Path, file: &str, value: u64) -> Result<(), String> {
    if group.join(file).exists() { set(group, file, value) } else { Ok(()) }
}

/// Names of the groups below one.
pub(super) fn children(group: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Whether this process may write there: asked with its effective ids, and false on a read-only mount.
pub(super) fn writable(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}
