//! Bytes both ways, counted and bounded.
//! It never looks at them, but for what it is told to scrub.
