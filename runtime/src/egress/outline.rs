//! What an outlet needs, read from a profile: ports, names, environment. Pure.
//! It never opens anything.
