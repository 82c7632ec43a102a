//! OAuth tokens: client credentials and refresh, one flight at a time.
//! It never gives a token to anything but a request that it is bound to.
