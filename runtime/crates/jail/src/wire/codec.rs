//! How the parts of a message are written and read.
//! It never trusts a length: what is not there is not read, and what is longer than it may be is refused.

use super::{CallEnd, EXITS_MAX, ProcessExit, STRINGS_MAX, SpawnRequest, Status, Streams};
use crate::bytes::Reader;
use crate::look::Seen;
use crate::recorder::{CallNumber, ProcessId};
use serde::Serialize;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// What is written so far.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn length(&mut self, value: usize) -> &mut Self {
        self.u32(u32::try_from(value).expect("what we send is far below 4 GiB"))
    }

    pub(super) fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.length(bytes.len()).0.extend_from_slice(bytes);
        self
    }

    pub(super) fn json<T: Serialize>(&mut self, value: &T) -> &mut Self {
        self.blob(&serde_json::to_vec(value).expect("plain data serialises to memory"))
    }

    pub(super) fn strings(&mut self, list: &[Vec<u8>]) -> &mut Self {
        self.length(list.len());
        list.iter().for_each(|string| {
            self.blob(string);
        });
        self
    }

    pub(super) fn seen(&mut self, seen: &Seen) -> &mut Self {
        match seen {
            Seen::Missing => self.byte(0),
            Seen::Directory => self.byte(1),
            Seen::File => self.byte(2),
            Seen::Link { text, resolved: None } => self.byte(3).blob(text.as_os_str().as_bytes()),
            Seen::Link { text, resolved: Some(resolved) } => {
                self.byte(4).blob(text.as_os_str().as_bytes()).blob(resolved.as_os_str().as_bytes())
            }
        }
    }

    pub(super) fn spawn(&mut self, request: &SpawnRequest) -> &mut Self {
        match request.streams {
            Streams::Descriptors => self.byte(0),
            Streams::Terminal { rows, columns } => self.byte(1).u16(rows).u16(columns),
        };
        self.u64(request.number.0).strings(&request.argv).strings(&request.env).blob(&request.cwd)
    }

    pub(super) fn exit(&mut self, exit: &ProcessExit) -> &mut Self {
        self.u64(exit.process.0).u32(exit.pid).how(exit.status).u64(exit.cpu_us).u64(exit.max_rss_kib)
    }

    pub(super) fn how(&mut self, status: Status) -> &mut Self {
        let (how, value) = match status {
            Status::Exited(code) => (0, i32::from(code)),
            Status::Signalled(signal) => (1, signal),
        };
        self.byte(how).i32(value)
    }

    pub(super) fn end(&mut self, end: &CallEnd) -> &mut Self {
        self.exit(&end.main).u64(end.wall_us).u64(end.cpu_us).u64(end.max_rss_kib).u64(end.exits_unlisted);
        self.length(end.exits.len());
        end.exits.iter().for_each(|exit| {
            self.exit(exit);
        });
        self
    }
}

impl<'a> Reader<'a> {
    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    pub(super) fn blob(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        serde_json::from_slice(self.blob()?).ok()
    }

    /// A string that execve(2) and chdir(2) can take.
    pub(super) fn string(&mut self) -> Option<Vec<u8>> {
        let bytes = self.blob()?;
        (!bytes.contains(&0)).then(|| bytes.to_vec())
    }

    pub(super) fn strings(&mut self) -> Option<Vec<Vec<u8>>> {
        let count = self.length().filter(|count| *count <= STRINGS_MAX)?;
        (0..count).map(|_| self.string()).collect()
    }

    pub(super) fn path(&mut self) -> Option<PathBuf> {
        self.string().map(|bytes| PathBuf::from(OsString::from_vec(bytes)))
    }

    pub(super) fn seen(&mut self) -> Option<Seen> {
        Some(match self.byte()? {
            0 => Seen::Missing,
            1 => Seen::Directory,
            2 => Seen::File,
            3 => Seen::Link { text: self.path()?, resolved: None },
            4 => Seen::Link { text: self.path()?, resolved: Some(self.path()?) },
            _ => return None,
        })
    }

    pub(super) fn spawn(&mut self) -> Option<SpawnRequest> {
        let streams = match self.byte()? {
            0 => Streams::Descriptors,
            1 => Streams::Terminal { rows: self.u16()?, columns: self.u16()? },
            _ => return None,
        };
        let number = CallNumber(self.u64()?);
        let argv = self.strings().filter(|argv| !argv.is_empty())?;
        Some(SpawnRequest { number, streams, argv, env: self.strings()?, cwd: self.string()? })
    }

    pub(super) fn exit(&mut self) -> Option<ProcessExit> {
        let process = ProcessId(self.u64()?);
        let pid = self.u32()?;
        let status = self.how()?;
        Some(ProcessExit { process, pid, status, cpu_us: self.u64()?, max_rss_kib: self.u64()? })
    }

    pub(super) fn how(&mut self) -> Option<Status> {
        let (how, value) = (self.byte()?, self.i32()?);
        Some(match how {
            0 => Status::Exited(u8::try_from(value).ok()?),
            1 => Status::Signalled(Some(value).filter(|signal| (1..=64).contains(signal))?),
            _ => return None,
        })
    }

    pub(super) fn end(&mut self) -> Option<CallEnd> {
        let main = self.exit()?;
        let (wall_us, cpu_us, max_rss_kib, exits_unlisted) = (self.u64()?, self.u64()?, self.u64()?, self.u64()?);
        let count = self.length().filter(|count| *count <= EXITS_MAX)?;
        let exits = (0..count).map(|_| self.exit()).collect::<Option<_>>()?;
        Some(CallEnd { main, wall_us, cpu_us, max_rss_kib, exits, exits_unlisted })
    }
}
