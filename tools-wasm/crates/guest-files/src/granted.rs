//! The toolkit's files on WASI's descriptors. It never keeps a descriptor longer than an act needs it, apart from the
//! directories that the host opened.

use crate::bindings::wasi::filesystem::preopens::get_directories;
use crate::bindings::wasi::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, ErrorCode, OpenFlags, PathFlags,
};
use stockade_toolkit::files::{Changeable, Entry, Files, Kind, Listing, Meta, Source, Trouble};

/// What one call of the host writes at most; it takes no more at once.
const WRITE_BYTES: usize = 64 * 1024;
/// Names that one directory may have.
const NAMES_MAX: usize = 1_000_000;

/// A directory that the host opened, and the path that it stands for.
struct Opened {
    path: String,
    directory: Descriptor,
}

/// All that was granted.
pub struct Granted {
    /// The longest paths first, so that the first that a path begins with is the nearest.
    opened: Vec<Opened>,
    workspace: Option<String>,
}

impl Granted {
    /// What the host opened for this call.
    #[expect(clippy::new_without_default, reason = "it asks the host, which a default should not")]
    pub fn new() -> Granted {
        let named = |(directory, path)| Opened { path, directory };
        let mut opened: Vec<Opened> = get_directories().into_iter().map(named).collect();
        opened.sort_by_key(|opened| std::cmp::Reverse(opened.path.len()));
        let workspace = opened.iter().map(|opened| &opened.path).find(|path| path.starts_with('/') && path.len() > 1);
        let workspace = workspace.cloned();
        Granted { opened, workspace }
    }

    /// The directory that a path belongs to, and the path below it.
    fn place(&self, path: &str) -> Result<(&Descriptor, String), Trouble> {
        if !path.starts_with('/') {
            // Above the workspace there is only the way from the top.
            let up = path.split('/').any(|part| part == "..");
            return match (&self.workspace, up) {
                (Some(workspace), true) => self.absolute(&format!("{workspace}/{path}"), true),
                (_, _) => self.opened(".").map(|directory| (directory, path.to_owned())).or_else(|trouble| {
                    let workspace = self.workspace.as_ref().ok_or(trouble)?;
                    self.absolute(&format!("{workspace}/{path}"), false)
                }),
            };
        }
        self.absolute(path, path.split('/').any(|part| part == ".."))
    }

    fn opened(&self, path: &str) -> Result<&Descriptor, Trouble> {
        self.opened.iter().find(|opened| opened.path == path).map(|opened| &opened.directory).ok_or(Trouble::Denied)
    }

    /// A path with dots may leave the directory whose name it begins with: it goes through the top.
    fn absolute(&self, path: &str, dots: bool) -> Result<(&Descriptor, String), Trouble> {
        for opened in
            self.opened.iter().filter(|opened| opened.path.starts_with('/') && !(dots && opened.path.len() > 1))
        {
            let Some(rest) = path.strip_prefix(opened.path.as_str()) else { continue };
            if rest.is_empty() || rest.starts_with('/') || opened.path == "/" {
                let rest = rest.trim_start_matches('/');
                return Ok((&opened.directory, if rest.is_empty() { "." } else { rest }.to_owned()));
            }
        }
        Err(Trouble::Denied)
    }

    fn at(&self, path: &str, flags: (PathFlags, OpenFlags, DescriptorFlags)) -> Result<Descriptor, Trouble> {
        let (directory, below) = self.place(path)?;
        directory.open_at(flags.0, &below, flags.1, flags.2).map_err(trouble)
    }

    fn stat(&self, path: &str, flags: PathFlags) -> Result<Meta, Trouble> {
        let (directory, below) = self.place(path)?;
        directory.stat_at(flags, &below).map(meta).map_err(trouble)
    }
}

impl Files for Granted {
    fn workspace(&self) -> Option<&str> {
        self.workspace.as_deref()
    }

    fn meta(&self, path: &str) -> Result<Meta, Trouble> {
        self.stat(path, PathFlags::SYMLINK_FOLLOW)
    }

    fn link_meta(&self, path: &str) -> Result<Meta, Trouble> {
        self.stat(path, PathFlags::empty())
    }

    fn read_link(&self, path: &str) -> Result<String, Trouble> {
        let (directory, below) = self.place(path)?;
        directory.readlink_at(&below).map_err(trouble)
    }

    fn list(&self, path: &str) -> Result<Listing, Trouble> {
        let directory = self.at(path, (PathFlags::SYMLINK_FOLLOW, OpenFlags::DIRECTORY, DescriptorFlags::READ))?;
        let names = directory.read_directory().map_err(trouble)?;
        let mut listing = Listing::default();
        loop {
            match names.read_directory_entry() {
                Ok(Some(entry)) => listing.entries.push(Entry { name: entry.name, kind: kind(entry.type_) }),
                Ok(None) => break,
                Err(ErrorCode::IllegalByteSequence) => listing.unspeakable += 1,
                Err(error) => return Err(trouble(error)),
            }
            if listing.entries.len() + listing.unspeakable > NAMES_MAX {
                return Err(Trouble::Other("a directory with more than a million names"));
            }
        }
        listing.entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    fn open(&self, path: &str) -> Result<Box<dyn Source + '_>, Trouble> {
        let file = self.at(path, (PathFlags::SYMLINK_FOLLOW, OpenFlags::empty(), DescriptorFlags::READ))?;
        Ok(Box::new(Reading(file)))
    }
}

impl Changeable for Granted {
    fn create_new(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble> {
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        let file = self.at(path, (PathFlags::empty(), flags, DescriptorFlags::WRITE))?;
        write(&file, bytes).inspect_err(|_| {
            // Half a file is nothing; that it cannot be removed either changes nothing about the trouble.
            let _removed = self.remove(path);
        })
    }

    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<(), Trouble> {
        let file = self.at(path, (PathFlags::SYMLINK_FOLLOW, OpenFlags::empty(), DescriptorFlags::WRITE))?;
        write(&file, bytes)?;
        file.set_size(bytes.len() as u64).map_err(trouble)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), Trouble> {
        let (from_directory, from) = self.place(from)?;
        let (to_directory, to) = self.place(to)?;
        from_directory.rename_at(&from, to_directory, &to).map_err(trouble)
    }

    fn remove(&self, path: &str) -> Result<(), Trouble> {
        let (directory, below) = self.place(path)?;
        directory.unlink_file_at(&below).map_err(trouble)
    }

    fn make_directory(&self, path: &str) -> Result<(), Trouble> {
        let (directory, below) = self.place(path)?;
        directory.create_directory_at(&below).map_err(trouble)
    }

    fn remove_directory(&self, path: &str) -> Result<(), Trouble> {
        let (directory, below) = self.place(path)?;
        directory.remove_directory_at(&below).map_err(trouble)
    }
}

struct Reading(Descriptor);

impl Source for Reading {
    fn read_at(&mut self, offset: u64, bytes_max: usize) -> Result<Vec<u8>, Trouble> {
        let (bytes, end) = self.0.read(bytes_max as u64, offset).map_err(trouble)?;
        // No bytes are the end for who asks; a host that has none now and more later would be asked again.
        if bytes.is_empty() && !end {
            return Err(Trouble::Other("the host gave nothing, and said that it was not the end"));
        }
        Ok(bytes)
    }
}

fn write(file: &Descriptor, bytes: &[u8]) -> Result<(), Trouble> {
    let mut done = 0;
    while let Some(part) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        let part = part.get(..WRITE_BYTES).unwrap_or(part);
        let written = file.write(part, done as u64).map_err(trouble)?;
        if written == 0 {
            return Err(Trouble::NoSpace);
        }
        done += usize::try_from(written).map_or(part.len(), |written| written.min(part.len()));
    }
    Ok(())
}

fn kind(of: DescriptorType) -> Kind {
    match of {
        DescriptorType::RegularFile => Kind::File,
        DescriptorType::Directory => Kind::Directory,
        DescriptorType::SymbolicLink => Kind::Link,
        DescriptorType::Unknown
        | DescriptorType::BlockDevice
        | DescriptorType::CharacterDevice
        | DescriptorType::Fifo
        | DescriptorType::Socket => Kind::Other,
    }
}

fn meta(stat: DescriptorStat) -> Meta {
    let modified = stat.data_modification_timestamp;
    let modified_ns = modified.map_or(0, |at| u128::from(at.seconds) * 1_000_000_000 + u128::from(at.nanoseconds));
    Meta { kind: kind(stat.type_), size: stat.size, links: stat.link_count, modified_ns }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "WASI's enumeration; what is not told apart is told by its name")]
fn trouble(error: ErrorCode) -> Trouble {
    match error {
        ErrorCode::NoEntry => Trouble::NotFound,
        ErrorCode::Access | ErrorCode::NotPermitted => Trouble::Denied,
        ErrorCode::ReadOnly => Trouble::ReadOnly,
        ErrorCode::Exist => Trouble::Exists,
        ErrorCode::NotDirectory => Trouble::NotADirectory,
        ErrorCode::IsDirectory => Trouble::IsADirectory,
        ErrorCode::Loop => Trouble::Loop,
        ErrorCode::InsufficientSpace | ErrorCode::Quota | ErrorCode::FileTooLarge => Trouble::NoSpace,
        ErrorCode::Busy | ErrorCode::TextFileBusy => Trouble::Busy,
        ErrorCode::CrossDevice => Trouble::CrossDevice,
        ErrorCode::NameTooLong => Trouble::NameTooLong,
        ErrorCode::InsufficientMemory => Trouble::Other("no memory"),
        ErrorCode::Io => Trouble::Other("an input or output error"),
        ErrorCode::Invalid => Trouble::Other("an invalid path"),
        ErrorCode::IllegalByteSequence => Trouble::Other("a name that is not Unicode"),
        ErrorCode::Interrupted => Trouble::Other("interrupted; try again"),
        ErrorCode::NotEmpty => Trouble::Other("the directory is not empty"),
        ErrorCode::TooManyLinks => Trouble::Other("too many links"),
        ErrorCode::Unsupported => Trouble::Other("the host does not offer this"),
        _ => Trouble::Other("the host refused it"),
    }
}
