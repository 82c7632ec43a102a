//! The attacks of every class, each with its control, and the harmless twins that must keep working.
//! It never counts an attack that could not be carried out as one that was stopped.

fn main() {}
