//! What the kernel says and what WASI says of the same thing: errors, attributes, times.
//! It never asks the kernel anything.

use rustix::fs::{FileType, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorStat, DescriptorType, ErrorCode, NewTimestamp};

/// The kernel's answer as a guest knows it.
pub(super) fn code(errno: Errno) -> ErrorCode {
    match errno {
        Errno::ROFS => ErrorCode::ReadOnly,
        Errno::XDEV => ErrorCode::CrossDevice,
        Errno::NXIO => ErrorCode::NoSuchDevice,
        Errno::TXTBSY => ErrorCode::TextFileBusy,
        Errno::DQUOT => ErrorCode::Quota,
        Errno::MFILE | Errno::NFILE => ErrorCode::InsufficientMemory,
        other => ErrorCode::from(std::io::Error::from(other)),
    }
}

/// Attributes as a guest knows them.
pub(super) fn attributes(stat: &Stat) -> DescriptorStat {
    let type_ = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Unknown => DescriptorType::Unknown,
    };
    // Before 1970 there is no time in WASI.
    let time = |seconds: i64, nanoseconds: u64| {
        let (seconds, nanoseconds) = (u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
        Some(Datetime { seconds, nanoseconds })
    };
    DescriptorStat {
        type_,
        link_count: stat.st_nlink,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        data_access_timestamp: time(stat.st_atime, stat.st_atime_nsec),
        data_modification_timestamp: time(stat.st_mtime, stat.st_mtime_nsec),
        status_change_timestamp: time(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// Times that a guest wants, as the kernel takes them.
pub(super) fn times(access: NewTimestamp, change: NewTimestamp) -> Result<Timestamps, Errno> {
    let time = |new: NewTimestamp| match new {
        NewTimestamp::NoChange => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }),
        NewTimestamp::Now => Ok(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }),
        NewTimestamp::Timestamp(Datetime { seconds, nanoseconds }) => {
            let whole = seconds.checked_add(u64::from(nanoseconds / 1_000_000_000)).ok_or(Errno::OVERFLOW)?;
            let tv_sec = i64::try_from(whole).map_err(|_| Errno::OVERFLOW)?;
            Ok(Timespec { tv_sec, tv_nsec: i64::from(nanoseconds % 1_000_000_000) })
        }
    };
    Ok(Timestamps { last_access: time(access)?, last_modification: time(change)? })
}
