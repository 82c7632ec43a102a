//! `wasi:sockets`: a component connects by grant, and each connection is the outlet's, which judges it as a command's.
//! It never makes a socket of the kernel's, asks no server for a name, and lets nobody listen.

use crate::backend::process::outlet::{OWN_V4, OWN_V6};
use crate::backend::wasm::call::{Use, What};
use crate::backend::wasm::worker::guest::Guest;
use crate::backend::wasm::worker::http::{Granted, Streams};
use crate::backend::wasm::worker::ledger::Ledger;
use crate::backend::wasm::worker::outgoing::Out;
use crate::backend::wasm::worker::tcp::{self, Lingering, Reader, Wanted, Wire, Writer};
use crate::egress::names::{Lookup, Names, Place};
use rustix::io::Errno;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use stockade_policy::Host;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{
    self, ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Network,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::ShutdownType;
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup, tcp as wasi_tcp, tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, Pollable, SocketError, SocketResult, TcpSocket, UdpSocket, subscribe,
};
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;

/// Names of one call that have an address.
const NAMES_MAX: usize = 1024;
/// Ports that it is told its connections have: from here on.
const FIRST_PORT: u16 = 49_152;
/// As Linux has them, where nobody set them (tcp(7)).
const KEEP_ALIVE: KeepAlive =
    KeepAlive { enabled: false, idle_ns: 7_200_000_000_000, interval_ns: 75_000_000_000, count: 9 };
const HOP_LIMIT: u8 = 64;
const BUFFER_BYTES: u64 = 64 * 1024;

/// The sockets of one call.
pub(super) struct Sockets {
    call: u64,
    granted: bool,
    streams: Arc<Streams>,
    ledger: Arc<Ledger>,
    out: Out,
    /// Of this call alone: an address means nothing to anybody else.
    names: Names,
    lingering: Lingering,
    connections: u16,
}

/// One socket. A component sees it as WASI's own; its handle is of this type.
struct Socket {
    family: IpAddressFamily,
    state: State,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    keep_alive: KeepAlive,
    hop_limit: u8,
    receive_bytes: u64,
    send_bytes: u64,
}

/// What a component sets and reads back. A connection is between it and the outlet, in one machine: there is nothing to
/// keep alive, and nothing to hop over.
#[derive(Debug, Clone, Copy)]
struct KeepAlive {
    enabled: bool,
    idle_ns: u64,
    interval_ns: u64,
    count: u32,
}

enum State {
    Unconnected,
    Connecting(AbortOnDropJoinHandle<Result<Arc<Wire>, ErrorCode>>),
    /// The outlet has answered, and the component has not asked.
    Answered(Result<Arc<Wire>, ErrorCode>),
    Connected(Arc<Wire>),
    Closed,
}

/// Addresses of a name, of which some were given out.
struct Addresses(std::vec::IntoIter<IpAddr>);

#[wasmtime_wasi::async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl Pollable for Socket {
    async fn ready(&mut self) {
        if let State::Connecting(task) = &mut self.state {
            self.state = State::Answered(task.await);
        }
    }
}

impl Sockets {
    pub(super) fn new(call: u64, granted: Granted, streams: Arc<Streams>, ledger: Arc<Ledger>, out: Out) -> Self {
        Self {
            call,
            granted: matches!(granted, Granted::Yes),
            streams,
            ledger,
            out,
            names: Names::new([], |_| true).at_most(NAMES_MAX),
            lingering: Lingering::default(),
            connections: 0,
        }
    }

    /// What is still on its way out when the component is over.
    pub(super) fn lingering(&self) -> Lingering {
        self.lingering.clone()
    }

    /// Something that no component gets, or not this one.
    fn refuse(&self) -> SocketError {
        let (errno, code) = if self.granted {
            (Errno::OPNOTSUPP, ErrorCode::NotSupported)
        } else {
            (Errno::ACCESS, ErrorCode::AccessDenied)
        };
        self.refused(What::Socket, errno, code)
    }

    /// Told without what it was of: a component can say as many names as it likes.
    fn refused(&self, what: What, errno: Errno, code: ErrorCode) -> SocketError {
        self.ledger.push(Use { errno: Some(errno.raw_os_error()), ..Use::new(what, Vec::new()) });
        code.into()
    }

    fn addresses(&self, name: &str) -> SocketResult<Vec<IpAddr>> {
        if !self.granted {
            return Err(self.refuse());
        }
        let name = match Host::parse(name) {
            Ok(Host::Name(name)) => name,
            Ok(Host::Address(address)) => return Ok(vec![address.to_canonical()]),
            Err(_) => return Err(self.refused(What::Lookup, Errno::INVAL, ErrorCode::InvalidArgument)),
        };
        match self.names.lookup(&name) {
            Lookup::Found(addresses) => {
                self.ledger.push(Use::new(What::Lookup, name.as_str()));
                Ok(vec![addresses.v4.into(), addresses.v6.into()])
            }
            Lookup::Full | Lookup::NotGranted => {
                Err(self.refused(What::Lookup, Errno::AGAIN, ErrorCode::TemporaryResolverFailure))
            }
        }
    }

    /// What the outlet is asked for: the name that an address was given to in this call, or the address itself.
    fn target(&self, remote: SocketAddr) -> String {
        match self.names.place(remote.ip()) {
            Place::Name(name) => format!("{}:{}", name.as_str(), remote.port()),
            Place::Proxy | Place::Resolver | Place::Vacant(_) | Place::Loopback | Place::Address(_) => {
                SocketAddr::new(remote.ip(), remote.port()).to_string()
            }
        }
    }

    fn connect(&mut self, remote: SocketAddr) -> Result<State, SocketError> {
        let Some(expected) = self.streams.expect() else {
            return Err(self.refused(What::Connect, Errno::MFILE, ErrorCode::NewSocketLimit));
        };
        let target = self.target(remote);
        self.ledger.push(Use::new(What::Connect, target.as_str()));
        let wanted = Wanted {
            call: self.call,
            target,
            expected,
            ledger: Arc::clone(&self.ledger),
            out: self.out.clone(),
            lingering: self.lingering.clone(),
        };
        Ok(State::Connecting(tcp::connect(wanted)))
    }

    /// The address that a connection is told to come from: the sandbox's, which is no machine's.
    fn local(&mut self, family: IpAddressFamily) -> SocketAddr {
        let port = FIRST_PORT + self.connections % (u16::MAX - FIRST_PORT);
        self.connections = self.connections.wrapping_add(1);
        match family {
            IpAddressFamily::Ipv4 => SocketAddr::new(OWN_V4.into(), port),
            IpAddressFamily::Ipv6 => SocketAddr::new(OWN_V6.into(), port),
        }
    }
}

/// Whether a socket of this family can be connected there at all.
fn is_remote(family: IpAddressFamily, remote: SocketAddr) -> bool {
    let fits = match (family, remote.ip()) {
        (IpAddressFamily::Ipv4, IpAddr::V4(v4)) => !v4.is_broadcast(),
        (IpAddressFamily::Ipv6, IpAddr::V6(v6)) => v6.to_ipv4_mapped().is_none(),
        (IpAddressFamily::Ipv4, IpAddr::V6(_)) | (IpAddressFamily::Ipv6, IpAddr::V4(_)) => false,
    };
    fits && remote.port() != 0 && !remote.ip().is_unspecified() && !remote.ip().is_multicast()
}

impl Socket {
    const fn new(family: IpAddressFamily) -> Self {
        Self {
            family,
            state: State::Unconnected,
            local: None,
            remote: None,
            keep_alive: KEEP_ALIVE,
            hop_limit: HOP_LIMIT,
            receive_bytes: BUFFER_BYTES,
            send_bytes: BUFFER_BYTES,
        }
    }

    /// The outlet's answer, if there is one by now.
    fn answered(&mut self) -> SocketResult<Arc<Wire>> {
        if let State::Connecting(task) = &mut self.state {
            // Whoever waits for it is woken by its own look.
            match std::pin::Pin::new(task).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => return Err(ErrorCode::WouldBlock.into()),
                Poll::Ready(answer) => self.state = State::Answered(answer),
            }
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Answered(Ok(wire)) => {
                self.state = State::Connected(Arc::clone(&wire));
                Ok(wire)
            }
            State::Answered(Err(code)) => Err(code.into()),
            other @ (State::Unconnected | State::Connecting(_) | State::Connected(_) | State::Closed) => {
                self.state = other;
                Err(ErrorCode::NotInProgress.into())
            }
        }
    }
}

/// The handle of WASI's type is one of ours: the table knows the type of each.
fn ours(socket: &Resource<TcpSocket>) -> Resource<Socket> {
    Resource::new_borrow(socket.rep())
}

impl Guest {
    fn socket(&mut self, socket: &Resource<TcpSocket>) -> SocketResult<&mut Socket> {
        Ok(self.table.get_mut(&ours(socket))?)
    }
}

/// A value that must not be nothing, as WASI has it for each option.
fn some<T: Default + PartialEq>(value: T) -> SocketResult<T> {
    if value == T::default() { Err(ErrorCode::InvalidArgument.into()) } else { Ok(value) }
}

impl network::Host for Guest {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, _: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(None)
    }
}

impl network::HostNetwork for Guest {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(network).map(drop).map_err(Into::into)
    }
}

impl tcp_create_socket::Host for Guest {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> SocketResult<Resource<TcpSocket>> {
        if !self.sockets.granted {
            return Err(self.sockets.refuse());
        }
        let socket = self.table.push(Socket::new(family))?;
        Ok(Resource::new_own(socket.rep()))
    }
}

// The outlet carries connections and nothing else, as for commands: there are no datagrams.
impl udp_create_socket::Host for Guest {
    async fn create_udp_socket(&mut self, _: IpAddressFamily) -> SocketResult<Resource<UdpSocket>> {
        Err(self.sockets.refuse())
    }
}

impl ip_name_lookup::Host for Guest {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> SocketResult<Resource<ip_name_lookup::ResolveAddressStream>> {
        self.table.get(&network)?;
        let addresses = Addresses(self.sockets.addresses(&name)?.into_iter());
        Ok(Resource::new_own(self.table.push(addresses)?.rep()))
    }
}

impl ip_name_lookup::HostResolveAddressStream for Guest {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> SocketResult<Option<IpAddress>> {
        let Addresses(left) = self.table.get_mut(&Resource::<Addresses>::new_borrow(stream.rep()))?;
        Ok(left.next().map(IpAddress::from))
    }

    fn subscribe(
        &mut self,
        stream: Resource<ip_name_lookup::ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(&mut self.table, Resource::<Addresses>::new_borrow(stream.rep()))
    }

    fn drop(&mut self, stream: Resource<ip_name_lookup::ResolveAddressStream>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Addresses>::new_own(stream.rep())).map(drop).map_err(Into::into)
    }
}

impl wasi_tcp::Host for Guest {}

impl wasi_tcp::HostTcpSocket for Guest {
    async fn start_bind(
        &mut self,
        _: Resource<TcpSocket>,
        _: Resource<Network>,
        _: IpSocketAddress,
    ) -> SocketResult<()> {
        // Nobody reaches a component, and nobody outside sees from where it connects: there is no address to have.
        Err(self.sockets.refuse())
    }

    fn finish_bind(&mut self, _: Resource<TcpSocket>) -> SocketResult<()> {
        Err(ErrorCode::NotInProgress.into())
    }

    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        remote: IpSocketAddress,
    ) -> SocketResult<()> {
        self.table.get(&network)?;
        let remote = SocketAddr::from(remote);
        let wants = self.table.get_mut(&ours(&socket))?;
        match wants.state {
            State::Unconnected => {}
            State::Connecting(_) | State::Answered(_) => return Err(ErrorCode::ConcurrencyConflict.into()),
            State::Connected(_) | State::Closed => return Err(ErrorCode::InvalidState.into()),
        }
        if !is_remote(wants.family, remote) {
            return Err(self.sockets.refused(What::Connect, Errno::INVAL, ErrorCode::InvalidArgument));
        }
        wants.state = State::Closed;
        wants.state = self.sockets.connect(remote)?;
        (wants.local, wants.remote) = (Some(self.sockets.local(wants.family)), Some(remote));
        Ok(())
    }

    fn finish_connect(
        &mut self,
        socket: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let wire = self.socket(&socket)?.answered()?;
        let input: DynInputStream = Box::new(Reader(Arc::clone(&wire)));
        let output: DynOutputStream = Box::new(Writer(wire));
        let parent = ours(&socket);
        Ok((self.table.push_child(input, &parent)?, self.table.push_child(output, &parent)?))
    }

    async fn start_listen(&mut self, _: Resource<TcpSocket>) -> SocketResult<()> {
        Err(self.sockets.refuse())
    }

    fn finish_listen(&mut self, _: Resource<TcpSocket>) -> SocketResult<()> {
        Err(ErrorCode::NotInProgress.into())
    }

    fn accept(
        &mut self,
        _: Resource<TcpSocket>,
    ) -> SocketResult<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        Err(self.sockets.refuse())
    }

    fn local_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        self.socket(&socket)?.local.map(IpSocketAddress::from).ok_or_else(|| ErrorCode::InvalidState.into())
    }

    fn remote_address(&mut self, socket: Resource<TcpSocket>) -> SocketResult<IpSocketAddress> {
        let socket = self.socket(&socket)?;
        let remote = socket.remote.filter(|_| matches!(socket.state, State::Connected(_)));
        remote.map(IpSocketAddress::from).ok_or_else(|| ErrorCode::InvalidState.into())
    }

    fn is_listening(&mut self, _: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        Ok(false)
    }

    fn address_family(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&ours(&socket))?.family)
    }

    fn set_listen_backlog_size(&mut self, _: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        some(value).map(drop)
    }

    fn keep_alive_enabled(&mut self, socket: Resource<TcpSocket>) -> SocketResult<bool> {
        Ok(self.socket(&socket)?.keep_alive.enabled)
    }

    fn set_keep_alive_enabled(&mut self, socket: Resource<TcpSocket>, value: bool) -> SocketResult<()> {
        self.socket(&socket)?.keep_alive.enabled = value;
        Ok(())
    }

    fn keep_alive_idle_time(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.socket(&socket)?.keep_alive.idle_ns)
    }

    fn set_keep_alive_idle_time(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.socket(&socket)?.keep_alive.idle_ns = some(value)?;
        Ok(())
    }

    fn keep_alive_interval(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.socket(&socket)?.keep_alive.interval_ns)
    }

    fn set_keep_alive_interval(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.socket(&socket)?.keep_alive.interval_ns = some(value)?;
        Ok(())
    }

    fn keep_alive_count(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u32> {
        Ok(self.socket(&socket)?.keep_alive.count)
    }

    fn set_keep_alive_count(&mut self, socket: Resource<TcpSocket>, value: u32) -> SocketResult<()> {
        self.socket(&socket)?.keep_alive.count = some(value)?;
        Ok(())
    }

    fn hop_limit(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u8> {
        Ok(self.socket(&socket)?.hop_limit)
    }

    fn set_hop_limit(&mut self, socket: Resource<TcpSocket>, value: u8) -> SocketResult<()> {
        self.socket(&socket)?.hop_limit = some(value)?;
        Ok(())
    }

    fn receive_buffer_size(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.socket(&socket)?.receive_bytes)
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.socket(&socket)?.receive_bytes = some(value)?;
        Ok(())
    }

    fn send_buffer_size(&mut self, socket: Resource<TcpSocket>) -> SocketResult<u64> {
        Ok(self.socket(&socket)?.send_bytes)
    }

    fn set_send_buffer_size(&mut self, socket: Resource<TcpSocket>, value: u64) -> SocketResult<()> {
        self.socket(&socket)?.send_bytes = some(value)?;
        Ok(())
    }

    fn subscribe(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(&mut self.table, ours(&socket))
    }

    fn shutdown(&mut self, socket: Resource<TcpSocket>, way: ShutdownType) -> SocketResult<()> {
        let way = match way {
            ShutdownType::Receive => Shutdown::Read,
            ShutdownType::Send => Shutdown::Write,
            ShutdownType::Both => Shutdown::Both,
        };
        let State::Connected(wire) = &self.socket(&socket)?.state else {
            return Err(ErrorCode::InvalidState.into());
        };
        wire.shut(way);
        Ok(())
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Socket>::new_own(socket.rep())).map(drop).map_err(Into::into)
    }
}
