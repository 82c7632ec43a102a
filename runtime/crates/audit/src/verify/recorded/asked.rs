//! Double entry of connections: the outlet's account against what processes asked the kernel for.
//! It never says that a connection which was asked for must have come about: the kernel or the outlet may refuse it.

use super::super::Findings;
use super::LOG;
use crate::record::{NetAsk, NetOpen, SocketOp, Via};
use std::collections::HashMap;

/// One address inside that processes wanted to reach.
#[derive(Debug, Default)]
struct Wanted {
    /// How often, and where that is first said.
    asks: u64,
    first: u64,
    /// How many connections came from it as they are, and where the last one is.
    opens: u64,
    last: u64,
}

/// By address and port.
#[derive(Debug, Default)]
pub(super) struct Asked(HashMap<String, Wanted>);

impl Asked {
    pub(super) fn asked(&mut self, n: u64, ask: NetAsk) {
        match ask.op {
            // A datagram, or a first word that comes with the connection (TCP Fast Open).
            SocketOp::Connect | SocketOp::Send => {
                let wanted = self.0.entry(ask.addr).or_insert_with(|| Wanted { first: n, ..Wanted::default() });
                wanted.asks = wanted.asks.saturating_add(ask.times.unwrap_or(1));
            }
            SocketOp::Bind | SocketOp::Listen => {}
        }
    }

    pub(super) fn connected(&mut self, n: u64, open: &NetOpen, findings: &mut Findings) {
        let direct = match open.via {
            Via::Direct => true,
            // Several of these may come over one connection to the proxy.
            Via::Http | Via::Socks => false,
            Via::Wasi | Via::WasiTcp | Via::Port | Via::Exchange => return,
        };
        let Some(addr) = &open.addr else {
            findings.incomplete(LOG, n, "a connection from inside that does not say to which address it was made");
            return;
        };
        match self.0.get_mut(addr) {
            None => findings.incomplete(LOG, n, format!("a connection to {addr}, and no process asked for one before")),
            Some(wanted) if direct => (wanted.opens, wanted.last) = (wanted.opens + 1, n),
            Some(_) => {}
        }
    }

    /// Connections beyond those that were asked for, by the leaf of the last.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = (u64, String)> {
        self.0.iter().filter(|(_, wanted)| wanted.opens > wanted.asks).map(|(addr, wanted)| {
            let Wanted { asks, first, opens, last } = wanted;
            (*last, format!("{opens} connections to {addr}, and processes asked {asks} times, first at leaf {first}"))
        })
    }
}
