//! The plaintext of a secret: locked memory, wiped when dropped.
//! It never prints, clones or serialises.
