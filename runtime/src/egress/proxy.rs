//! The handshakes of clients that know proxies: CONNECT, absolute form, SOCKS.
//! It never connects: it says where a client wants to go.
