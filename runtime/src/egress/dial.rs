//! Connections to the world: names resolved outside, addresses checked and pinned, upstream proxies of a company.
//! It never connects to an address that was not checked.
