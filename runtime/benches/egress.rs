//! What a request costs on its way through the outlet, beside the same request without it.
//! It never leaves this machine: it runs in a network namespace of its own, with client, outlet and upstream as threads.
//!
//! `cargo bench -p stockade --bench egress`; under `chrt -f 10` where others use the machine too. `STOCKADE_BENCH_DIR`
//! says where the log lies: on a disk, each use of a secret waits for it.
#![expect(clippy::disallowed_methods, reason = "a bench that enters a namespace of its own")]
#![expect(clippy::print_stdout, reason = "what a bench is for")]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use stockade::egress::outline::{Outline, Socket};
use stockade::egress::tls::Authority;
use stockade::egress::{Outlet, Settings, dial};
use stockade::error::Error;
use stockade::journal::{self, Journal};
use stockade::secrets::plain::Plain;
use stockade::secrets::source::{Sources, Surroundings};
use stockade::secrets::store::{Deposit, Store};
use stockade::secrets::vault::Vault;
use stockade_audit::Machine;
use stockade_policy::{AbsolutePath, ExpandedProfile, HostFacts, HostPattern, SecretName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Requests of one series of latencies, and turns over all series.
const REQUESTS: usize = 300;
const TURNS: usize = 10;
/// Connections and requests of one series of throughput.
const CONNECTIONS: usize = 16;
const REQUESTS_EACH: usize = 1000;
const SIZES: [usize; 3] = [256, 1024, 65_536];
/// Opened with a secret, opened without one, and passed through.
const HOSTS: [(&str, &str); 3] =
    [("api.test", "opened, scrub on"), ("bare.test", "opened, scrub off"), ("whole.test", "passed through")];

fn main() {
    stockade_jail::run_as_init_if_asked();
    if !std::env::args().any(|word| word == "--inside") {
        let inside = "ip link set lo up && ip route add local 198.18.0.0/15 dev lo && exec \"$0\" --inside";
        let own = std::env::current_exe().expect("it runs");
        let status = std::process::Command::new("unshare").args(["-rn", "sh", "-c", inside]).arg(own).status();
        std::process::exit(status.ok().and_then(|status| status.code()).unwrap_or(1));
    }
    let (ca, server) = outside();
    let upstream = serve(server);
    let world = World::new(upstream, &ca);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        latencies(&world, upstream).await;
        throughput(&world).await;
        tunnels(&world).await;
    });
    world.outlet.close().expect("it closes");
    drop(std::fs::remove_dir_all(&world.directory));
}

async fn latencies(world: &World, upstream: SocketAddr) {
    println!(
        "{:>8}  {:<20} {:>9} {:>9} {:>12} {:>12}",
        "bytes", "series", "p50 µs", "p99 µs", "added p50", "added p99"
    );
    for size in SIZES {
        let mut direct = connect(&world.trusted, upstream, "bare.test").await;
        let mut through = Vec::new();
        for (host, _) in HOSTS {
            through.push(connect(&world.trusted, world.address(host), host).await);
        }
        let mut series: Vec<Vec<Duration>> = vec![Vec::new(); HOSTS.len() + 1];
        for turn in 0..TURNS {
            let times = times(&mut direct, "bare.test", size).await;
            let (mine, others) = series.split_first_mut().expect("one more than hosts");
            for ((host, _), (sender, into)) in HOSTS.iter().zip(through.iter_mut().zip(others)) {
                let times = self::times(sender, host, size).await;
                if turn > 0 {
                    into.extend(times);
                }
            }
            if turn > 0 {
                mine.extend(times);
            }
        }
        let mut shown = series.into_iter().map(|mut all| {
            all.sort_unstable();
            let at = |part: usize| all.get(all.len() * part / 100).copied().unwrap_or_default().as_secs_f64() * 1e6;
            (at(50), at(99))
        });
        let (p50, p99) = shown.next().expect("direct");
        println!("{size:>8}  {:<20} {p50:>9.1} {p99:>9.1}", "direct");
        for ((_, name), (one, other)) in HOSTS.iter().zip(shown) {
            println!("{size:>8}  {name:<20} {one:>9.1} {other:>9.1} {:>12.1} {:>12.1}", one - p50, other - p99);
        }
    }
}

async fn times(sender: &mut SendRequest<Full<Bytes>>, host: &str, size: usize) -> Vec<Duration> {
    let mut all = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let began = Instant::now();
        exchange(sender, host, size).await;
        all.push(began.elapsed());
    }
    all
}

async fn throughput(world: &World) {
    println!("{:>8}  {:<20} {:>14} {:>22}", "bytes", "series", "requests/s", "requests/s of a core");
    for size in SIZES {
        for (host, name) in HOSTS {
            let mut senders = Vec::new();
            for _ in 0..CONNECTIONS {
                senders.push(connect(&world.trusted, world.address(host), host).await);
            }
            let (before, began) = (outlet_cpu(), Instant::now());
            let mut running = tokio::task::JoinSet::new();
            let each = if size > 10_000 { REQUESTS_EACH / 5 } else { REQUESTS_EACH };
            for mut sender in senders {
                running.spawn(async move {
                    for _ in 0..each {
                        exchange(&mut sender, host, size).await;
                    }
                });
            }
            while running.join_next().await.is_some() {}
            let (wall, cpu) = (began.elapsed().as_secs_f64(), (outlet_cpu() - before).as_secs_f64());
            let all = (CONNECTIONS * each) as f64;
            println!("{size:>8}  {name:<20} {:>14.0} {:>22.0}", all / wall, all / cpu);
        }
    }
}

/// New connections, with everything that one needs, and one request on each.
async fn tunnels(world: &World) {
    const EACH: usize = 500;
    for (host, name) in HOSTS {
        let (before, began) = (outlet_cpu(), Instant::now());
        for _ in 0..EACH {
            let mut sender = connect(&world.trusted, world.address(host), host).await;
            exchange(&mut sender, host, 256).await;
        }
        let cpu = (outlet_cpu() - before).as_secs_f64() * 1e6 / EACH as f64;
        println!(
            "new tunnel, {name:<20} {:>9.0} tunnels/s {cpu:>9.0} µs of CPU each",
            EACH as f64 / began.elapsed().as_secs_f64()
        );
    }
}

async fn exchange(sender: &mut SendRequest<Full<Bytes>>, host: &str, size: usize) {
    sender.ready().await.expect("it is open");
    let request =
        Request::builder().uri(format!("/v1/{size}")).header("host", host).body(Full::default()).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(body.len(), size);
}

async fn connect(trusted: &Arc<ClientConfig>, to: SocketAddr, host: &str) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(to).await.expect("it listens");
    stream.set_nodelay(true).expect("it is TCP");
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let stream = TlsConnector::from(Arc::clone(trusted)).connect(name, stream).await.expect("it is trusted");
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    sender
}

/// CPU time of the outlet's thread.
fn outlet_cpu() -> Duration {
    for task in std::fs::read_dir("/proc/self/task").expect("proc is there").flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.trim() == "outlet" {
            let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let ns = text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default();
            return Duration::from_nanos(ns);
        }
    }
    Duration::ZERO
}

/// An upstream on a thread of its own.
fn serve(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("it is TCP");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("it is TCP");
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let acceptor = TlsAcceptor::from(Arc::clone(&config));
                tokio::spawn(async move {
                    stream.set_nodelay(true).expect("it is TCP");
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service =
                        service_fn(|request: Request<Incoming>| async move { Ok::<_, Infallible>(sized(&request)) });
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
    });
    address
}

fn sized(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    static ALL: [u8; 65_536] = [b'x'; 65_536];
    let size = request.uri().path().rsplit('/').next().and_then(|size| size.parse::<usize>().ok()).unwrap_or(0);
    Response::new(Full::new(Bytes::from_static(ALL.get(..size).unwrap_or(&ALL))))
}

fn outside() -> (Vec<u8>, Arc<ServerConfig>) {
    let key = KeyPair::generate().expect("randomness");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).expect("a certificate");
    let leaf_key = KeyPair::generate().expect("randomness");
    let names: Vec<String> = HOSTS.map(|(host, _)| host.to_owned()).into();
    let params_of_leaf = CertificateParams::new(names).expect("names");
    let leaf = params_of_leaf.signed_by(&leaf_key, &Issuer::new(params, key)).expect("a certificate");
    let key = PrivateKeyDer::try_from(leaf_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    (ca.pem().into_bytes(), Arc::new(config.with_single_cert(vec![leaf.der().clone()], key).expect("a key that fits")))
}

fn trusting(pems: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pem in pems {
        for one in CertificateDer::pem_slice_iter(pem) {
            roots.add(one.expect("PEM")).expect("a certificate");
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions");
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

struct World {
    outlet: Outlet,
    trusted: Arc<ClientConfig>,
    names: Vec<String>,
    directory: PathBuf,
    _journal: Journal,
}

impl World {
    fn new(upstream: SocketAddr, ca: &[u8]) -> Self {
        let directory = std::env::var_os("STOCKADE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = directory.join(format!("stockade-egress-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let profile = profile(upstream);
        let machine = Machine::system();
        let store = Arc::new(Store::open(&directory, 0, None, &machine).expect("a store"));
        let value = Plain::new(b"sk-live-0123456789abcdef".to_vec()).expect("it fits");
        store.set(&SecretName::parse("key").expect("a name"), Deposit::Value(value)).expect("it is kept");
        let carrier = &|| Err(Error::bug("nobody reads from a server here"));
        let around = Surroundings { variable: &|_| None, credentials: None, descriptor: &|_| None, uid: 0, carrier };
        let vault = Vault::load(profile.secrets(), &Sources { store: &store, around }, &machine).expect("it loads");
        let patterns: Vec<HostPattern> = profile.net_grants().map(|(net, _)| net.allowed.host.clone()).collect();
        let authority = Authority::new(&patterns, SystemTime::now()).expect("an authority");
        let trusted = trusting(&[authority.certificate_pem().as_bytes(), ca]);
        let mut outline = Outline::of(&profile).expect("it can be held").expect("it has grants");
        let names = outline.names.iter().map(|name| name.as_str().to_owned()).collect();
        outline.sockets = vec![Socket::Tcp { address: None, port: 443 }];
        let listener = std::net::TcpListener::bind("0.0.0.0:443").expect("the namespace is ours");
        let journal = journal::trial(&directory, "bench").expect("it begins");
        let settings = Settings {
            trust: profile.net_grants().map(|(_, rule)| (rule.clone(), ca.to_vec())).collect(),
            profile,
            outline,
            sockets: vec![stockade_jail::OutletEnd::Socket(listener.into())],
            account: journal.account(None),
            vault: Arc::new(vault),
            authority,
            dialer: dial::Settings {
                servers: dial::Servers::These(Vec::new()),
                proxies: dial::Proxies::parse(None, None, None).expect("none"),
                tls: trusting(&[]),
                connect_timeout: Duration::from_secs(5),
            },
            drops: Box::new(|_| Ok(0)),
        };
        let outlet = Outlet::start(settings).expect("it starts");
        Self { outlet, trusted, names, directory, _journal: journal }
    }

    fn address(&self, host: &str) -> SocketAddr {
        let number = self.names.iter().position(|name| name == host).expect("it is granted");
        let synthetic = stockade::egress::names::Synthetic::of(number).expect("few names");
        SocketAddr::new(synthetic.v4.into(), 443)
    }
}

fn profile(upstream: SocketAddr) -> ExpandedProfile {
    let grant = |host: &str, more: &str| {
        format!(
            "[[grant.net]]\nhost = \"{host}\"\nports = [443]\n{more}\nresolve = [\"{upstream}\"]\ntrust = \"ca.pem\"\nreason = \"r\"\n"
        )
    };
    let secret = "[[secret]]\nname = \"key\"\nenv = \"KEY\"\nhosts = [\"api.test\"]\nreason = \"r\"\n\
                  place = { header = \"authorization\", format = \"Bearer {}\" }\n";
    let text = [
        "profile = 1\nname = \"bench\"\n".to_owned(),
        grant("api.test", "methods = [\"GET\"]\npaths = [\"/v1/**\"]\nsecret = \"key\""),
        grant("bare.test", "methods = [\"GET\"]\npaths = [\"/v1/**\"]"),
        grant("whole.test", ""),
        secret.to_owned(),
    ];
    let file = stockade_policy::parse("bench.toml", text.concat().as_bytes()).expect("it is a profile");
    let joined = stockade_policy::resolve(&file, &mut |_| Ok(None)).expect("it has no parents");
    let path = |text: &[u8]| AbsolutePath::parse(text).expect("it is absolute");
    let facts =
        HostFacts { home: path(b"/home/user"), workspace: path(b"/home/user/project"), variables: &BTreeMap::new() };
    joined.expand(&facts).expect("it has no paths")
}
