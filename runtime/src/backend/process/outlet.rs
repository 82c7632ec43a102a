//! What the guest sees of its outlet: the sockets to be made inside, its resolver, and the authority that it has to trust.
//! It never decides what may go out, and touches nothing: the host is an argument.

use crate::backend::process::host::{Host, Seen};
use crate::backend::process::trust;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};
use stockade_jail::plan::{Content, Cover, OutletSocket, SessionStep};

/// The sandbox's own address, beside the loopback's: connections come from it. Programs that ask for names of the
/// families which the machine has (`AI_ADDRCONFIG`) would find none otherwise, since a loopback's do not count.
pub const OWN_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
/// The same for IPv6.
pub const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd73, 0x746f, 0x636b, 0, 0, 0, 0xc612, 3);
/// Where the resolver inside answers.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// The session's authority alone, PEM: for variables that name one more certificate to trust (`NODE_EXTRA_CA_CERTS`).
pub const AUTHORITY: &str = "/run/stockade/ca.pem";
/// The system's authorities and the session's, PEM: for variables that name all of them (`SSL_CERT_FILE`).
pub const BUNDLE: &str = "/run/stockade/ca-bundle.pem";

/// The outlet of a session, as far as its plan is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutletView {
    /// Sockets that are made inside, in the order in which [`super::ProcessWall::take_outlet`] gives them.
    pub sockets: Vec<OutletSocket>,
    /// Certificate of the session's authority, PEM.
    pub authority: Vec<u8>,
    /// What programs inside trust: [`trust::merged`] of the system's and this session's authority.
    pub bundle: Vec<u8>,
    /// The same as Java reads it.
    pub java: Vec<u8>,
}

impl OutletView {
    /// The step that makes the outlet.
    pub(super) fn step(&self) -> SessionStep {
        SessionStep::Outlet { address: OWN_V4, address_v6: OWN_V6, sockets: self.sockets.clone() }
    }

    /// Steps that show its files, over these mounts: those that belong behind a mount of the host's directory at once
    /// (by the mount's position), and those that come last.
    pub(super) fn covers(&self, identity: &[SessionStep], mounts: &[SessionStep], host: &dyn Host) -> Covers {
        let shown = Shown { mounts, host };
        let mut covers = Covers::default();
        for step in identity {
            let SessionStep::File { path, content, mode } = step else { continue };
            // Elsewhere the file itself is there, made with the root.
            let Some(place) = shown.hidden(path) else { continue };
            let cover = Cover { paths: vec![place.path], content: Content::new(content.as_bytes()), mode: *mode };
            match place.behind {
                Some(mount) => covers.behind.push((mount, cover)),
                None => covers.last.push(cover),
            }
        }
        let mut bundles: Vec<PathBuf> = vec![BUNDLE.into()];
        bundles.extend(trust::BUNDLES.iter().filter_map(|path| shown.existing(Path::new(path))));
        bundles.sort();
        bundles.dedup();
        let mut certificates = vec![(vec![PathBuf::from(AUTHORITY)], &self.authority), (bundles, &self.bundle)];
        let mut stores: Vec<_> = trust::JAVA_STORES.iter().filter_map(|path| shown.existing(Path::new(path))).collect();
        stores.dedup();
        if !stores.is_empty() {
            certificates.push((stores, &self.java));
        }
        covers.last.extend(certificates.into_iter().map(|(paths, content)| Cover {
            paths,
            content: Content::new(content.clone()),
            mode: 0o444,
        }));
        covers
    }
}

/// `/etc/resolv.conf` with an outlet.
pub(super) fn resolv_conf() -> String {
    format!("nameserver {RESOLVER}\noptions timeout:2 attempts:2\n")
}

/// Files over what the mounts show.
#[derive(Debug, Default)]
pub(super) struct Covers {
    /// Missing in a directory of the host: right behind the mount of this position, before anything is below it.
    pub(super) behind: Vec<(usize, Cover)>,
    /// After every mount.
    pub(super) last: Vec<Cover>,
}

impl Covers {
    /// The mounts, with the covers that belong between them, and the last ones.
    pub(super) fn between(self, mounts: &[SessionStep]) -> Vec<SessionStep> {
        let mut steps = Vec::with_capacity(mounts.len() + 2);
        for (position, mount) in mounts.iter().enumerate() {
            steps.push(mount.clone());
            let files: Vec<_> =
                self.behind.iter().filter(|(behind, _)| *behind == position).map(|(_, cover)| cover.clone()).collect();
            if !files.is_empty() {
                steps.push(SessionStep::Cover { files });
            }
        }
        steps.push(SessionStep::Cover { files: self.last });
        steps
    }
}

/// What the mounts show.
struct Shown<'a> {
    mounts: &'a [SessionStep],
    host: &'a dyn Host,
}

/// Where a file has to be put to be seen.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    /// The mount that shows a directory of the host which has no such file.
    behind: Option<usize>,
}

impl Shown<'_> {
    /// Where a file that the root has must be put again, because a directory of the host hides it.
    fn hidden(&self, path: &Path) -> Option<Place> {
        self.mount_above(path)?;
        let path = real(path, self.host);
        let behind = match self.host.look(&path) {
            Seen::Missing => self.mount_above(&path),
            Seen::Directory | Seen::File | Seen::Link { .. } => None,
        };
        Some(Place { path, behind })
    }

    /// Where a file that the host has must be put; `None`: the host has none.
    fn existing(&self, path: &Path) -> Option<PathBuf> {
        let real = real(path, self.host);
        if self.host.look(&real) != Seen::File {
            return None;
        }
        let linked =
            |step: &SessionStep| matches!(step, SessionStep::Symlink { path: link, .. } if path.starts_with(link));
        let led_on = self.mount_above(path).is_some() || self.mounts.iter().any(linked);
        Some(if led_on { real } else { path.to_owned() })
    }

    /// The mount of a directory that shows what is at this path.
    fn mount_above(&self, path: &Path) -> Option<usize> {
        let shows = |step: &SessionStep| {
            matches!(step, SessionStep::Bind { target, .. } | SessionStep::Screen { target, .. }
                if path != target && path.starts_with(target))
        };
        self.mounts.iter().rposition(shows)
    }
}

/// The path without links, where it exists; else as far as it does. A link that leads to nothing is followed by its text.
fn real(path: &Path, host: &dyn Host) -> PathBuf {
    /// As many as the kernel follows (path_resolution(7)).
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let mut above: Vec<_> = path.ancestors().collect();
        above.reverse();
        let link = above.into_iter().find_map(|part| match host.look(part) {
            Seen::Link { text, resolved } => Some((part, resolved.unwrap_or_else(|| joined(part.parent(), &text)))),
            Seen::Missing | Seen::Directory | Seen::File => None,
        });
        let Some((part, leads)) = link else { return path };
        path = match path.strip_prefix(part) {
            Ok(rest) if !rest.as_os_str().is_empty() => leads.join(rest),
            Ok(_) | Err(_) => leads,
        };
    }
    path
}

/// Where a link's text leads, from the directory that holds the link.
fn joined(directory: Option<&Path>, text: &Path) -> PathBuf {
    let mut path = PathBuf::from("/");
    for component in directory.unwrap_or(&path.clone()).join(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    path
}

#[cfg(test)]
mod tests;
