//! The secrets of one session: placeholders, swapping, attaching.
//! It never parses what an upstream or an agent sent.
