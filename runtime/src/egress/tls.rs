//! TLS on both sides: the session's authority, certificates, what a client hello says, upstream trust.
//! It never writes a private key anywhere.
