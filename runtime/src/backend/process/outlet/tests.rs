//! Where the outlet's files are put, on pictures of machines.
//! It never looks at this machine.

use super::*;
use std::collections::BTreeMap;
use stockade_jail::plan::{Access, Exec, Owner};

/// Paths and what is there.
struct Picture(BTreeMap<&'static str, Seen>);

impl Host for Picture {
    fn look(&self, path: &Path) -> Seen {
        path.to_str().and_then(|path| self.0.get(path)).cloned().unwrap_or(Seen::Missing)
    }
}

fn link(text: &str, resolved: Option<&str>) -> Seen {
    Seen::Link { text: text.into(), resolved: resolved.map(PathBuf::from) }
}

fn bind(path: &str) -> SessionStep {
    SessionStep::Bind {
        source: path.into(),
        target: path.into(),
        access: Access::ReadOnly,
        exec: Exec::Deny,
        owner: Owner::AsIs,
    }
}

fn resolv() -> SessionStep {
    SessionStep::File { path: "/etc/resolv.conf".into(), content: resolv_conf(), mode: 0o444 }
}

fn covers(machine: &[(&'static str, Seen)], mounts: &[SessionStep]) -> Covers {
    let view = OutletView {
        sockets: Vec::new(),
        authority: b"ours".to_vec(),
        bundle: b"all".to_vec(),
        java: b"java".to_vec(),
    };
    view.covers(&[resolv()], mounts, &Picture(machine.iter().cloned().collect()))
}

/// The paths that show the bundle.
#[track_caller]
fn bundles(machine: &[(&'static str, Seen)], mounts: &[SessionStep]) -> Vec<String> {
    let covers = covers(machine, mounts);
    let bundle = covers.last.iter().find(|cover| cover.content.bytes() == b"all").expect("it is always there");
    bundle.paths.iter().map(|path| path.display().to_string()).collect()
}

/// Where the resolver's file is put, and behind which mount; `None` where the root's own is seen.
#[track_caller]
fn resolver(machine: &[(&'static str, Seen)], mounts: &[SessionStep]) -> Option<(String, Option<usize>)> {
    let covers = covers(machine, mounts);
    let text = |cover: &Cover| cover.paths.first().expect("one").display().to_string();
    let is_it = |cover: &&Cover| cover.content.bytes() == resolv_conf().as_bytes();
    let last = covers.last.iter().find(is_it).map(|cover| (text(cover), None));
    last.or_else(|| covers.behind.iter().find(|(_, cover)| is_it(&cover)).map(|(at, cover)| (text(cover), Some(*at))))
}

const DEBIAN: &[(&str, Seen)] = &[
    ("/etc", Seen::Directory),
    ("/etc/resolv.conf", Seen::File),
    ("/etc/ssl", Seen::Directory),
    ("/etc/ssl/certs", Seen::Directory),
    ("/etc/ssl/certs/ca-certificates.crt", Seen::File),
];

#[test]
fn bundles_are_covered_where_the_host_has_them_and_nowhere_else() {
    let ours = BUNDLE.to_owned();
    let debian = "/etc/ssl/certs/ca-certificates.crt".to_owned();
    for mounts in [vec![], vec![bind("/etc/ssl/certs")], vec![bind("/etc")], vec![bind(&debian)]] {
        assert_eq!(bundles(DEBIAN, &mounts), [debian.clone(), ours.clone()], "{mounts:?}");
    }
    assert_eq!(bundles(&[], &[]), [ours]);
}

#[test]
fn a_bundle_behind_links_is_covered_where_they_lead() {
    let (pem, made) = ("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/pki/tls/certs/ca-bundle.crt");
    let fedora = [
        (pem, Seen::File),
        (made, link("../../ca-trust/extracted/pem/tls-ca-bundle.pem", Some(pem))),
        ("/etc/ssl/certs", link("../pki/tls/certs", Some("/etc/pki/tls/certs"))),
        ("/etc/ssl/cert.pem", link("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", Some(pem))),
    ];
    assert_eq!(bundles(&fedora, &[bind("/etc")]), [pem, BUNDLE]);
    // The certificates' directory is granted as the link that it is: nothing can be put below a link.
    let granted =
        [bind("/etc/pki"), SessionStep::Symlink { path: "/etc/ssl/certs".into(), target: "../pki/tls/certs".into() }];
    assert_eq!(bundles(&fedora, &granted), [pem, "/etc/ssl/cert.pem", BUNDLE]);
    assert_eq!(bundles(&fedora, &[]), [pem, made, "/etc/ssl/cert.pem", "/etc/ssl/certs/ca-bundle.crt", BUNDLE]);
}

#[test]
fn the_resolvers_file_is_seen_whatever_the_host_has_there() {
    assert_eq!(resolver(DEBIAN, &[bind("/etc/ssl/certs")]), None);
    let etc = [bind("/bin"), bind("/etc"), bind("/etc/ssl")];
    assert_eq!(resolver(DEBIAN, &etc), Some(("/etc/resolv.conf".to_owned(), None)));
    let (stub, text) = ("/run/systemd/resolve/stub-resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
    for there in [Some(stub), None] {
        let ubuntu = [("/etc", Seen::Directory), ("/etc/resolv.conf", link(text, there)), (stub, Seen::File)];
        assert_eq!(resolver(&ubuntu, &etc), Some((stub.to_owned(), None)));
    }
    let missing = [("/etc", Seen::Directory)];
    assert_eq!(resolver(&missing, &etc), Some(("/etc/resolv.conf".to_owned(), Some(1))));
}

#[test]
fn a_file_that_the_host_lacks_comes_before_what_is_mounted_below() {
    let mounts = [bind("/etc"), bind("/etc/ssl")];
    let steps = covers(&[("/etc", Seen::Directory)], &mounts).between(&mounts);
    let is_cover = |step: &SessionStep| matches!(step, SessionStep::Cover { .. });
    assert_eq!(steps.iter().map(is_cover).collect::<Vec<_>>(), [false, true, false, true]);
}

#[test]
fn links_that_lead_in_circles_end() {
    let circle = [("/a", link("b", None)), ("/b", link("a", None))];
    let path = real(Path::new("/a"), &Picture(circle.into_iter().collect()));
    assert!(path == Path::new("/a") || path == Path::new("/b"));
}
