//! Events as bytes of the ring, and back.
//! It never trusts what it parses: a frame that `encode` does not make is refused, whatever it holds.

use super::event::{
    Asked, Bounded, CallNumber, Event, Executable, FileId, Happened, How, NameChange, Origin, Peer, ProcessId, Property,
};
use crate::bytes::Reader;
use crate::seccomp;
use crate::wire::Status;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of one string at most: a path is 4096, a list of arguments is cut at this.
pub(crate) const STRING_BYTES_MAX: usize = 16 * 1024;
const _: () = assert!(3 * STRING_BYTES_MAX + 4096 < super::ring::FRAME_BYTES_MAX);

const HOWS: [How; 3] = [How::Observed, How::Confirmed, How::Performed];
const CHANGES: [NameChange; 8] = [
    NameChange::Unlink,
    NameChange::RemoveDirectory,
    NameChange::Rename,
    NameChange::Exchange,
    NameChange::Link,
    NameChange::Symlink,
    NameChange::MakeDirectory,
    NameChange::MakeNode,
];
const PROPERTIES: [Property; 6] = [
    Property::Mode,
    Property::Owner,
    Property::Times,
    Property::Length,
    Property::SetAttribute,
    Property::RemoveAttribute,
];
const ASKED: [Asked; 4] = [Asked::Connect, Asked::Bind, Asked::Listen, Asked::Send];

mod kind {
    pub(super) const STARTED: u8 = 1;
    pub(super) const EXECUTED: u8 = 2;
    pub(super) const ENDED: u8 = 3;
    pub(super) const OPENED: u8 = 4;
    pub(super) const READ: u8 = 5;
    pub(super) const NAME: u8 = 6;
    pub(super) const PROPERTY: u8 = 7;
    pub(super) const SOCKET: u8 = 8;
    pub(super) const CALL: u8 = 9;
    pub(super) const LOST: u8 = 10;
}

/// Writes an event into `out`, which it empties first.
pub(crate) fn encode(event: &Event, out: &mut Vec<u8>) {
    out.clear();
    let mut out = Writer(out);
    out.u64(event.at_ns).u64(event.process.0).u64(event.call.0).one_of(&HOWS, event.how);
    match &event.what {
        Happened::Started { origin, pid } => {
            let (which, number) = match origin {
                Origin::Call(number) => (0, number.0),
                Origin::Process(process) => (1, process.0),
            };
            out.byte(kind::STARTED).byte(which).u64(number).u32(*pid)
        }
        Happened::Executed { running, asked, argv, cwd } => {
            out.byte(kind::EXECUTED);
            out.option(running.as_ref(), |out, (path, executable)| {
                out.string(path).executable(executable);
            });
            out.string(asked).string(argv).string(cwd)
        }
        Happened::Ended { status, failed_execs } => {
            out.byte(kind::ENDED);
            out.option(status.as_ref(), |out, status| {
                let (how, value) = match status {
                    Status::Exited(code) => (0, i32::from(*code)),
                    Status::Signalled(signal) => (1, *signal),
                };
                out.byte(how).i32(value);
            });
            out.u64(*failed_execs)
        }
        Happened::Opened { path, flags, mode, errno, file, made } => {
            out.byte(kind::OPENED).string(path).u32(*flags).u32(*mode).errno(*errno).byte(u8::from(*made));
            out.option(file.as_ref(), |out, file| {
                out.u64(file.device).u64(file.inode);
            })
        }
        Happened::Read { path } => out.byte(kind::READ).string(path),
        Happened::Name { change, path, to } => {
            out.byte(kind::NAME).one_of(&CHANGES, *change).string(path);
            out.option(to.as_ref(), |out, to| {
                out.string(to);
            })
        }
        Happened::Property { property, path, value } => {
            out.byte(kind::PROPERTY).one_of(&PROPERTIES, *property).string(path);
            out.option(value.as_ref(), |out, value| {
                out.u64(*value);
            })
        }
        Happened::Socket { asked, peer } => out.byte(kind::SOCKET).one_of(&ASKED, *asked).peer(peer),
        Happened::Call { name, arguments, errno } => {
            out.byte(kind::CALL).u32(seccomp::number(name).unwrap_or(u32::MAX));
            for argument in arguments {
                out.u64(*argument);
            }
            out.errno(*errno)
        }
        Happened::Lost(count) => out.byte(kind::LOST).u64(*count),
    };
}

/// Parses one event; `None` for anything that [`encode`] does not produce.
pub(crate) fn decode(frame: &[u8]) -> Option<Event> {
    let mut input = Reader(frame);
    let event = input.event()?;
    input.0.is_empty().then_some(event)
}

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn one_of<T: PartialEq>(&mut self, all: &[T], value: T) -> &mut Self {
        let position = all.iter().position(|one| *one == value).and_then(|position| u8::try_from(position).ok());
        self.byte(position.expect("every variant is listed"))
    }

    fn option<T>(&mut self, value: Option<&T>, some: impl FnOnce(&mut Self, &T)) -> &mut Self {
        match value {
            None => {
                self.byte(0);
            }
            Some(value) => some(self.byte(1), value),
        }
        self
    }

    fn errno(&mut self, errno: Option<i32>) -> &mut Self {
        self.option(errno.as_ref(), |out, errno| {
            out.i32(*errno);
        })
    }

    /// Cut here at the latest.
    fn string(&mut self, string: &Bounded) -> &mut Self {
        let (kept, more) = string.bytes.split_at_checked(STRING_BYTES_MAX).unwrap_or((&string.bytes, &[]));
        let length = u32::try_from(kept.len()).expect("bounded by a constant");
        self.byte(u8::from(string.cut || !more.is_empty())).u32(length).0.extend_from_slice(kept);
        self
    }

    fn executable(&mut self, executable: &Executable) -> &mut Self {
        self.u64(executable.id.device).u64(executable.id.inode).u64(executable.size_bytes);
        self.u64(executable.modified_ns.cast_unsigned()).u64(executable.changed_ns.cast_unsigned())
    }

    fn peer(&mut self, peer: &Peer) -> &mut Self {
        match peer {
            Peer::Internet(SocketAddr::V4(address)) => {
                self.byte(4).0.extend(address.ip().octets());
                self.u32(u32::from(address.port()))
            }
            Peer::Internet(SocketAddr::V6(address)) => {
                self.byte(6).0.extend(address.ip().octets());
                self.u32(u32::from(address.port())).u32(address.flowinfo()).u32(address.scope_id())
            }
            Peer::Unix(path) => self.byte(1).string(path),
            Peer::Other(family) => self.byte(2).u32(u32::from(*family)),
            Peer::Unknown => self.byte(0),
        }
    }
}

impl Reader<'_> {
    /// A number of 16 bits in a place for 32.
    fn narrow(&mut self) -> Option<u16> {
        u16::try_from(self.u32()?).ok()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::from(self.byte()?)).copied()
    }

    fn option<T>(&mut self, some: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => some(self).map(Some),
            _ => None,
        }
    }

    fn truth(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn bounded(&mut self) -> Option<Bounded> {
        let cut = self.truth()?;
        let length = usize::try_from(self.u32()?).ok().filter(|length| *length <= STRING_BYTES_MAX)?;
        Some(Bounded { bytes: self.take(length)?.to_vec(), cut })
    }

    fn executable(&mut self) -> Option<Executable> {
        Some(Executable {
            id: FileId { device: self.u64()?, inode: self.u64()? },
            size_bytes: self.u64()?,
            modified_ns: self.u64()?.cast_signed(),
            changed_ns: self.u64()?.cast_signed(),
        })
    }

    fn peer(&mut self) -> Option<Peer> {
        Some(match self.byte()? {
            4 => {
                let address = IpAddr::V4(Ipv4Addr::from(self.array::<4>()?));
                Peer::Internet(SocketAddr::new(address, self.narrow()?))
            }
            6 => {
                let address = Ipv6Addr::from(self.array::<16>()?);
                let (port, flow, scope) = (self.narrow()?, self.u32()?, self.u32()?);
                Peer::Internet(SocketAddr::V6(SocketAddrV6::new(address, port, flow, scope)))
            }
            1 => Peer::Unix(self.bounded()?),
            2 => Peer::Other(self.narrow()?),
            0 => Peer::Unknown,
            _ => return None,
        })
    }

    fn status(&mut self) -> Option<Status> {
        match (self.byte()?, self.i32()?) {
            (0, code) => Some(Status::Exited(u8::try_from(code).ok()?)),
            (1, signal) => Some(Status::Signalled(signal)),
            _ => None,
        }
    }

    fn event(&mut self) -> Option<Event> {
        let (at_ns, process, call) = (self.u64()?, ProcessId(self.u64()?), ProcessId(self.u64()?));
        let how = self.one_of(&HOWS)?;
        let what = self.happened()?;
        Some(Event { at_ns, process, call, how, what })
    }

    fn happened(&mut self) -> Option<Happened> {
        Some(match self.byte()? {
            kind::STARTED => {
                let origin = match (self.byte()?, self.u64()?) {
                    (0, number) => Origin::Call(CallNumber(number)),
                    (1, process) => Origin::Process(ProcessId(process)),
                    _ => return None,
                };
                Happened::Started { origin, pid: self.u32()? }
            }
            kind::EXECUTED => Happened::Executed {
                running: self.option(|input| Some((input.bounded()?, input.executable()?)))?,
                asked: self.bounded()?,
                argv: self.bounded()?,
                cwd: self.bounded()?,
            },
            kind::ENDED => Happened::Ended { status: self.option(Self::status)?, failed_execs: self.u64()? },
            kind::OPENED => Happened::Opened {
                path: self.bounded()?,
                flags: self.u32()?,
                mode: self.u32()?,
                errno: self.option(Self::i32)?,
                made: self.truth()?,
                file: self.option(|input| Some(FileId { device: input.u64()?, inode: input.u64()? }))?,
            },
            kind::READ => Happened::Read { path: self.bounded()? },
            kind::NAME => Happened::Name {
                change: self.one_of(&CHANGES)?,
                path: self.bounded()?,
                to: self.option(Self::bounded)?,
            },
            kind::PROPERTY => Happened::Property {
                property: self.one_of(&PROPERTIES)?,
                path: self.bounded()?,
                value: self.option(Self::u64)?,
            },
            kind::SOCKET => Happened::Socket { asked: self.one_of(&ASKED)?, peer: self.peer()? },
            kind::CALL => Happened::Call {
                name: seccomp::name(self.u32()?)?,
                arguments: [self.u64()?, self.u64()?, self.u64()?],
                errno: self.option(Self::i32)?,
            },
            kind::LOST => Happened::Lost(self.u64()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Bounded {
        Bounded { bytes: text.into(), cut: false }
    }

    fn samples() -> Vec<Happened> {
        let file = FileId { device: 1 << 40, inode: u64::MAX };
        let executable = Executable { id: file, size_bytes: 7, modified_ns: -1, changed_ns: i64::MAX };
        let mut all = vec![
            Happened::Started { origin: Origin::Call(CallNumber(3)), pid: 9 },
            Happened::Started { origin: Origin::Process(ProcessId(4)), pid: u32::MAX },
            Happened::Executed {
                running: Some((text("/bin/sh"), executable)),
                asked: text("./x"),
                argv: Bounded { bytes: b"sh\0-c\0\xff\0".to_vec(), cut: true },
                cwd: text("/w"),
            },
            Happened::Executed { running: None, asked: text(""), argv: text(""), cwd: text("") },
            Happened::Ended { status: Some(Status::Exited(255)), failed_execs: 2 },
            Happened::Ended { status: Some(Status::Signalled(9)), failed_execs: 0 },
            Happened::Ended { status: None, failed_execs: 0 },
            Happened::Opened {
                path: text("/w/a"),
                flags: 0o101,
                mode: 0o644,
                errno: Some(0),
                file: Some(file),
                made: true,
            },
            Happened::Opened { path: text("a"), flags: 1, mode: 0, errno: None, file: None, made: false },
            Happened::Read { path: text("/etc/passwd") },
            Happened::Name { change: NameChange::Rename, path: text("a"), to: Some(text("b")) },
            Happened::Property { property: Property::Mode, path: text("a"), value: Some(0o755) },
            Happened::Property { property: Property::Times, path: text("a"), value: None },
            Happened::Call { name: "ptrace", arguments: [16, u64::MAX, 0], errno: Some(1) },
            Happened::Call { name: "setuid", arguments: [0; 3], errno: None },
            Happened::Lost(12),
        ];
        for peer in [
            Peer::Internet(SocketAddr::from(([127, 0, 0, 1], 80))),
            Peer::Internet(SocketAddr::from(([1; 8], 443))),
            Peer::Unix(text("\0x")),
            Peer::Other(16),
            Peer::Unknown,
        ] {
            all.push(Happened::Socket { asked: Asked::Connect, peer });
        }
        all
    }

    fn encoded(what: Happened) -> (Event, Vec<u8>) {
        let event = Event { at_ns: 5, process: ProcessId(1), call: ProcessId(2), how: How::Confirmed, what };
        let mut frame = vec![9; 3];
        encode(&event, &mut frame);
        (event, frame)
    }

    #[test]
    fn events_come_back_as_they_were() {
        for what in samples() {
            let (event, frame) = encoded(what);
            assert_eq!(decode(&frame).as_ref(), Some(&event));
        }
    }

    #[test]
    fn cut_or_lengthened_or_altered_frames_never_panic_and_never_pass_for_longer_ones() {
        for what in samples() {
            let (event, frame) = encoded(what);
            for length in 0..frame.len() {
                assert_eq!(decode(&frame[..length]), None, "{event:?} cut to {length}");
            }
            assert_eq!(decode(&[&frame[..], &[0]].concat()), None);
            for position in 0..frame.len() {
                for bit in 0..8 {
                    let mut altered = frame.clone();
                    altered[position] ^= 1 << bit;
                    // Another event or none; what counts is that it returns, and allocates no more than the frame has.
                    drop(decode(&altered));
                }
            }
        }
    }

    #[test]
    fn strings_are_cut_where_they_are_too_long() {
        let path = Bounded { bytes: vec![b'x'; STRING_BYTES_MAX + 1], cut: false };
        let (_, frame) = encoded(Happened::Read { path });
        let Some(Event { what: Happened::Read { path }, .. }) = decode(&frame) else { panic!("it parses") };
        assert_eq!((path.bytes.len(), path.cut), (STRING_BYTES_MAX, true));
    }
}
