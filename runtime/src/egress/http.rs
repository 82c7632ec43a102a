//! HTTP from inside: each request judged, logged, armed and sent; each reply scrubbed.
//! It never follows a redirect.
