//! Descriptors that should not be there, and what they would open.
//! It never closes one: the test looks at what the guest was given.

use crate::sys::{Message, send_message};
use crate::{Args, Attempt, Entry, Miss};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;

pub(crate) const TABLE: &[Entry] = &[
    ("inherited", inherited),
    ("read-through-inherited", read_through_inherited),
    ("send-directory-through-stdout", send_directory_through_stdout),
];

/// Success is any descriptor above 2 that was open before the probe opened one.
fn inherited(_args: &Args) -> Attempt {
    let listing = fs::read_dir("/proc/self/fd")?;
    let open: Vec<String> = listing
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        // The listing's own descriptor is gone when it is asked for again.
        .filter(|name| name.parse().is_ok_and(|fd: i32| fd > 2))
        .filter_map(|name| {
            fs::read_link(format!("/proc/self/fd/{name}")).ok().map(|to| format!("{name}={}", to.display()))
        })
        .filter(|entry| !entry.contains("/proc/"))
        .collect();
    if open.is_empty() { Err(Miss::Nothing("none".to_owned())) } else { Ok(open.join(" ")) }
}

/// Leaky Vessels: walks up from every inherited directory to a file outside.
fn read_through_inherited(args: &Args) -> Attempt {
    let path = args.text(0)?;
    for fd in 0..1024 {
        for up in ["", "/..", "/../../../../../../../.."] {
            let mut text = String::new();
            let opened = File::open(format!("/proc/self/fd/{fd}{up}/{path}"));
            if opened.is_ok_and(|mut file| file.read_to_string(&mut text).is_ok()) {
                return Ok(format!("through descriptor {fd}"));
            }
        }
    }
    Err(Miss::Nothing("through none".to_owned()))
}

/// When standard output is a socket of the harness, it could carry a descriptor out.
fn send_directory_through_stdout(_args: &Args) -> Attempt {
    let here = File::open(".")?;
    let message = Message { data: b"\n", descriptor: Some(here.as_raw_fd()), ..Message::default() };
    for stream in [1, 2, 0] {
        if send_message(stream, &message, libc::MSG_NOSIGNAL).is_ok() {
            return Ok(format!("sent through descriptor {stream}"));
        }
    }
    Err(Miss::Nothing("no stream carries descriptors".to_owned()))
}
