//! Takes connections from inside and finds out what they are.
//! It never reads more than its limits before it knows.
