//! A plan as people read it: numbered steps, by phase, one line each.
//! It never shortens: two different plans print differently.

use super::{
    Access, CallStep, Content, Cover, Exec, HostStep, LandlockRule, Limits, Owner, PathRights, Plan, Record, Rlimit,
    SessionStep, Sockets, Tcp, Wall, path_text::escape,
};
use std::fmt;
use std::path::Path;

impl Plan {
    /// The plan as bytes that are equal exactly when the plans are: what the log hashes. Contents of covers stand there
    /// by length and SHA-256.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut plan = self.clone();
        for step in &mut plan.session {
            if let SessionStep::Cover { files } = step {
                files.iter_mut().for_each(|file| file.content = Content::new(file.content.to_string()));
            }
        }
        plan.whole_bytes()
    }

    /// The plan with everything in it: what the helper gets.
    pub(crate) fn whole_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan has string keys only and serialises to memory")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wall = match self.wall {
            Wall::Namespaces => "namespaces, Landlock and seccomp",
            Wall::Landlock => "Landlock and seccomp, without namespaces",
        };
        writeln!(f, "wall: {wall}")?;
        phase(f, "on the host, once", &self.host)?;
        phase(f, "inside, once", &self.session)?;
        phase(f, "for each call", &self.call)
    }
}

/// A heading and its numbered steps.
fn phase<S: fmt::Display>(f: &mut fmt::Formatter<'_>, heading: &str, steps: &[S]) -> fmt::Result {
    writeln!(f, "{heading}:")?;
    (1..).zip(steps).try_for_each(|(number, step)| writeln!(f, "{number:>4}. {step}"))
}

impl fmt::Display for HostStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(container) => write!(f, "{container}"),
            Self::Limits(limits) => write!(f, "limits: {limits}"),
        }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("wall", self.wall_s, " s"),
            ("cpu", self.cpu_s, " s"),
            ("memory", self.memory_mib, " MiB"),
            ("pids", self.pids, ""),
            ("open files", self.open_files, ""),
            ("disk", self.disk_mib, " MiB"),
            ("output", self.output_mib, " MiB"),
        ];
        let set = named.into_iter().filter_map(|(name, value, unit)| Some(format!("{name} {}{unit}", value?)));
        let list: Vec<_> = set.collect();
        f.write_str(&if list.is_empty() { "none".to_owned() } else { list.join(", ") })
    }
}

impl fmt::Display for SessionStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaces { guest_uid, guest_gid } => {
                write!(f, "new user, mount, pid, net, ipc, uts and cgroup namespaces; uid {guest_uid}, gid {guest_gid}")
            }
            Self::Hostname(name) => write!(f, "host name {name:?}"),
            Self::LoopbackUp => f.write_str("bring up the loopback, the only network interface"),
            Self::Outlet { address, address_v6, sockets } => {
                write!(
                    f,
                    "an outlet: every address is this sandbox's, {address} and {address_v6} first; handed out are"
                )?;
                sockets.iter().try_for_each(|socket| write!(f, "\n        {socket}"))
            }
            Self::Root { size_mib } => write!(f, "an empty root, {size_mib} MiB"),
            Self::Dir { path, mode } => write!(f, "directory {} ({mode:04o})", quoted(path)),
            Self::Symlink { path, target } => write!(f, "link {} -> {}", quoted(path), quoted(target)),
            Self::File { path, content, mode } => write!(f, "file {} ({mode:04o}): {content:?}", quoted(path)),
            Self::Bind { source, target, access, exec, owner } => {
                write!(f, "show {} at {}: {access}, {exec}, {owner}", quoted(source), quoted(target))
            }
            Self::Screen { lower, target, exec } => {
                let (lower, target) = (quoted(lower), quoted(target));
                write!(f, "show {lower} at {target} behind a screen: read-only, no sockets, {exec}, owners as they are")
            }
            Self::Overlay { lower, layer, target, exec, owner } => write!(
                f,
                "show {} at {} copy-on-write into {}: {exec}, {owner}",
                quoted(lower),
                quoted(target),
                quoted(layer)
            ),
            Self::Cover { files } => {
                f.write_str("cover with files of ours, read-only")?;
                files.iter().try_for_each(|Cover { paths, content, mode }| {
                    let paths: Vec<_> = paths.iter().map(|path| quoted(path)).collect();
                    write!(f, "\n        {} ({mode:04o}): {content}", paths.join(", "))
                })
            }
            Self::Protect { path } => write!(f, "protect {} from writing, renaming and removal", quoted(path)),
            Self::Pin { path } => write!(f, "pin {} against renaming and removal", quoted(path)),
            Self::Mask { path } => write!(f, "hide {}", quoted(path)),
            Self::Tmpfs { path, size_mib, mode, exec } => {
                write!(f, "private tmpfs at {}, {size_mib} MiB ({mode:04o}): {exec}", quoted(path))
            }
            Self::Proc => f.write_str("/proc of this session's processes, its dangerous parts hidden"),
            Self::Dev { shm_mib } => {
                write!(f, "/dev: null zero full random urandom tty, own pts, shm of {shm_mib} MiB")
            }
            Self::EnterRoot => f.write_str("enter the new root, read-only, and detach the host's"),
            Self::Keyring => f.write_str("join a new, empty keyring"),
            Self::Recorder(record) => f.write_str(match record {
                Record::Off => "no recorder",
                Record::Changes => "start the recorder: processes, changes of files, sockets, refused calls",
                Record::AllOpens => "start the recorder: processes, every file opened, sockets, refused calls",
            }),
            Self::DropCapabilities => f.write_str("drop every Linux capability"),
            Self::NoNewPrivs => f.write_str("set no_new_privs"),
            Self::Landlock { rules, tcp } => {
                let tcp = match tcp {
                    Tcp::LeftToNamespace => "tcp left to the network namespace",
                    Tcp::Refused => "no tcp",
                };
                write!(f, "Landlock: nothing but the following paths; {tcp}")?;
                rules
                    .iter()
                    .try_for_each(|LandlockRule { path, rights }| write!(f, "\n        {rights:<18} {}", quoted(path)))
            }
        }
    }
}

impl fmt::Display for CallStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnSession => f.write_str("a session of its own, with the terminal when there is one"),
            Self::Rlimit { resource, value } => match resource {
                Rlimit::Core => write!(f, "limit core dumps to {value} bytes"),
                Rlimit::OpenFiles => write!(f, "limit open files to {value}"),
                Rlimit::Pids => write!(f, "limit processes to {value}"),
                Rlimit::FileSize => write!(f, "limit file size to {value} bytes"),
                Rlimit::LockedMemory => write!(f, "limit locked memory to {value} bytes"),
            },
            Self::CloseDescriptors => f.write_str("close every descriptor but 0, 1 and 2"),
            Self::Seccomp { sockets } => match sockets {
                Sockets::Loopback => f.write_str("seccomp: the allow-list, with unix and internet sockets"),
                Sockets::Internet => {
                    f.write_str("seccomp: the allow-list, with internet sockets, and stream socket pairs")
                }
                Sockets::PairsOnly => f.write_str("seccomp: the allow-list, with stream socket pairs only"),
            },
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "writable",
        })
    }
}

impl fmt::Display for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "executable",
            Self::Deny => "noexec",
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsIs => "owners as they are",
            Self::Guest => "owned by the guest",
        })
    }
}

impl fmt::Display for PathRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Read => "read",
            Self::ReadExec => "read, execute",
            Self::ReadWriteExisting => "read, write files",
            Self::ReadWrite => "read, write",
            Self::ReadWriteExec => "everything",
        })
    }
}

/// A path between quotes, its odd bytes visible.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", escape(path).replace('"', "\\\"").replace('\n', "\\n"))
}
