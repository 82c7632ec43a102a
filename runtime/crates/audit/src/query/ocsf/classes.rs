//! Which activity of the schema a change of a file or a request is.
//! It never looks at more than a word.

use super::{Class, FILE, HTTP, class};
use crate::record::{Change, FsOp};

pub(super) fn of_operation(op: FsOp) -> Class {
    match op {
        FsOp::Unlink | FsOp::Rmdir => class(FILE, 4, "Delete"),
        FsOp::Rename | FsOp::Exchange => class(FILE, 5, "Rename"),
        FsOp::Link | FsOp::Symlink | FsOp::Mkdir | FsOp::Mknod => class(FILE, 1, "Create"),
        FsOp::Chmod | FsOp::Chown => class(FILE, 7, "Set Security"),
        FsOp::Utimes | FsOp::Setxattr | FsOp::Removexattr => class(FILE, 6, "Set Attributes"),
        FsOp::Truncate => class(FILE, 3, "Update"),
    }
}

pub(super) fn of_change(op: Change) -> Class {
    match op {
        Change::Created => class(FILE, 1, "Create"),
        Change::Modified | Change::Retyped => class(FILE, 3, "Update"),
        Change::Deleted => class(FILE, 4, "Delete"),
        Change::Metadata => class(FILE, 6, "Set Attributes"),
    }
}

pub(super) fn of_method(method: &str) -> Class {
    match method {
        "CONNECT" => class(HTTP, 1, "Connect"),
        "DELETE" => class(HTTP, 2, "Delete"),
        "GET" => class(HTTP, 3, "Get"),
        "HEAD" => class(HTTP, 4, "Head"),
        "OPTIONS" => class(HTTP, 5, "Options"),
        "POST" => class(HTTP, 6, "Post"),
        "PUT" => class(HTTP, 7, "Put"),
        "TRACE" => class(HTTP, 8, "Trace"),
        "PATCH" => class(HTTP, 9, "Patch"),
        _ => class(HTTP, 99, "Other"),
    }
}
