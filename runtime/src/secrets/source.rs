//! Where a secret comes from: file, environment, descriptor, credential, program, the store.
//! It never takes one from an argument.
