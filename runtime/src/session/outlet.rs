//! A session's way out: secrets, authority and sockets are prepared before the sandbox, and start when it is there.
//! It never decides what may go out, and never opens anything for a profile that grants no network.

use crate::backend::process::outlet::OutletView;
use crate::backend::process::trust;
use crate::egress::dial;
use crate::egress::outline::{Outline, Socket};
use crate::egress::tls::{self, Authority};
use crate::egress::{self, Outlet, Settings};
use crate::error::{Error, Result};
use crate::journal::Account;
use crate::secrets::source::{Sources, Surroundings};
use crate::secrets::store::Store;
use crate::secrets::vault::Vault;
use crate::session::Options;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use stockade_audit::Machine;
use stockade_jail::OutletEnd;
use stockade_jail::plan::OutletSocket;
use stockade_policy::{ExpandedProfile, Grant, HostPattern, RuleId};

/// Longest file with the authority of a host.
const TRUST_BYTES_MAX: u64 = 1 << 20;

/// What a plan needs of an outlet, and what the outlet will need: made once, before the sandbox.
#[derive(Debug)]
pub(super) struct Blueprint {
    outline: Outline,
    authority: Authority,
    trust: BTreeMap<RuleId, Vec<u8>>,
    /// For the plan.
    pub(super) view: OutletView,
}

impl Blueprint {
    /// Of a profile; `None` where it grants no network.
    ///
    /// # Errors
    /// Operator: its grants cannot be held. Host: the machine has no randomness, or its authorities cannot be read.
    pub(super) fn of(profile: &ExpandedProfile) -> Result<Option<Self>> {
        let Some(outline) = Outline::of(profile)? else { return Ok(None) };
        let hosts: Vec<HostPattern> = profile.net_grants().map(|(net, _)| net.allowed.host.clone()).collect();
        let now = UNIX_EPOCH + Duration::from_nanos(Machine::system().clock.wall_ns());
        let authority = Authority::new(&hosts, now)?;
        let own = authority.certificate_pem().as_bytes().to_vec();
        let trust = trusted(profile)?;
        // Where a connection is passed through, the client inside has to trust what the rule trusts.
        let bundle = trust.values().fold(trust::system_bundle()?, |all, more| trust::merged(more, &all));
        let bundle = trust::merged(&own, &bundle);
        let sockets = outline.sockets.iter().map(planned).collect();
        Ok(Some(Self {
            view: OutletView { sockets, authority: own, java: tls::java_store(&bundle), bundle },
            outline,
            authority,
            trust,
        }))
    }

    /// Refuses a grant for a port inside on which the outlet itself listens, on every address: no server could.
    ///
    /// # Errors
    /// Operator: there is one.
    pub(super) fn leaves_ports(&self, profile: &ExpandedProfile) -> Result<()> {
        let takes = |wanted: u16| {
            let on = |socket: &Socket| matches!(socket, Socket::Tcp { address: None, port } if *port == wanted);
            self.outline.sockets.iter().any(on)
        };
        for (ports, rule) in profile.port_grants() {
            if let Some(port) = ports.iter().find(|port| takes(**port)) {
                let what = format!("{rule}: no server inside can have port {port}: a grant for the network takes it");
                return Err(Error::operator(what).hint("let the server listen on another port"));
            }
        }
        Ok(())
    }

    /// Starts the outlet on the sockets of a sandbox.
    ///
    /// # Errors
    /// Operator: an authority that a rule trusts cannot be read. Host: there is no thread for it.
    pub(super) fn start(
        self,
        options: &Options,
        made: Vec<Option<OutletEnd>>,
        vault: Arc<Vault>,
        account: Account,
    ) -> Result<Outlet> {
        let Self { outline: Outline { sockets, names }, authority, trust, .. } = self;
        // A socket of a family that the machine does not have is not there.
        let made = sockets.into_iter().zip(made).filter_map(|(socket, made)| Some((socket, made?)));
        let (planned, sockets) = made.unzip();
        Outlet::start(Settings {
            profile: options.profile.clone(),
            outline: Outline { sockets: planned, names },
            sockets,
            account,
            vault,
            authority,
            dialer: dialer(options)?,
            trust,
            drops: Box::new(|refusals| {
                stockade_jail::outlet::lost_since_last_asked(refusals).map_err(std::io::Error::other)
            }),
        })
    }
}

/// The secrets of a profile and where they come from.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    pub(super) vault: Arc<Vault>,
}

impl Secrets {
    /// Loads what a profile names; `None` where it names none and has no outlet to look at for placeholders.
    ///
    /// # Errors
    /// As [`Vault::load`].
    pub(super) fn load(options: &Options) -> Result<Option<Self>> {
        let wanted = options.profile.secrets();
        if wanted.is_empty() && options.profile.net_grants().next().is_none() {
            return Ok(None);
        }
        let variable = |name: &str| options.variables.get(name.as_bytes()).map(|v| OsString::from_vec(v.clone()));
        let credentials = variable("CREDENTIALS_DIRECTORY");
        let credentials = credentials.as_deref().map(Path::new);
        let machine = Machine::system();
        let store = Arc::new(Store::open(&options.paths.state, options.user.uid, credentials, &machine)?);
        let around = Surroundings {
            variable: &variable,
            credentials,
            descriptor: &|number| stockade_jail::program::inherited_descriptor(number).ok(),
            uid: options.user.uid,
            carrier: &|| {
                let proxies: BTreeMap<String, String> = dial::PROXY_VARIABLES
                    .into_iter()
                    .filter_map(|name| Some((name.to_owned(), variable(name)?.into_string().ok()?)))
                    .collect();
                egress::carrier(move || dial::Settings::of_operator(|name| proxies.get(name).cloned()))
            },
        };
        let vault = Arc::new(Vault::load(wanted, &Sources { store: &store, around }, &machine)?);
        Ok(Some(Self { vault }))
    }
}

/// Variables by which programs inside find what to trust, and placeholders. What a profile sets itself wins.
pub(super) fn environment(secrets: &Secrets) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let trusted = tls::environment().into_iter().map(|(name, value)| (name.into(), value.into()));
    let held = secrets.vault.environment().into_iter();
    trusted.chain(held.map(|(name, placeholder)| (name.as_str().into(), placeholder.into_bytes())))
}

fn planned(socket: &Socket) -> OutletSocket {
    match socket {
        Socket::Tcp { address, port } => OutletSocket::Tcp { address: *address, port: *port },
        Socket::Udp { port } => OutletSocket::Udp { port: *port },
        Socket::Refusals => OutletSocket::Refusals,
    }
}

/// How the outside is reached.
fn dialer(options: &Options) -> Result<dial::Settings> {
    dial::Settings::of_operator(|name| {
        options.variables.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    })
}

/// The authorities that rules name, read from beside the file that the rule stands in.
fn trusted(profile: &ExpandedProfile) -> Result<BTreeMap<RuleId, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for grant in profile.grants() {
        let Grant::Net(net) = &grant.subject else { continue };
        let rule = &grant.id;
        let Some(file) = &net.trust else { continue };
        let beside = Path::new(OsStr::from_bytes(grant.file.as_bytes())).parent().unwrap_or(Path::new(""));
        let path = beside.join(file);
        let mut pem = Vec::new();
        let opened = File::open(&path).map_err(|e| Error::io("open the authority that a rule trusts,", &path, &e))?;
        let read = opened.take(TRUST_BYTES_MAX + 1).read_to_end(&mut pem);
        read.map_err(|e| Error::io("read the authority that a rule trusts,", &path, &e))?;
        if pem.len() as u64 > TRUST_BYTES_MAX {
            let what = format!("{rule}: \"{}\" is larger than {TRUST_BYTES_MAX} bytes", path.display());
            return Err(Error::operator(what).hint("trust names a PEM file with the authority's certificate"));
        }
        files.insert(rule.clone(), pem);
    }
    Ok(files)
}
