//! Library of the `stockade` binary.
