//! Shared support of the black-box tests: it drives the built binary and never calls the library.
