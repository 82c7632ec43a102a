//! Tools that run as components, as events of the schema: an application that starts, uses files and the network, and stops.
//! It never makes a process of a tool: it has no pid, no parent and no executable.

use super::classes::of_operation;
use super::{BASE, Class, Exporter, FILE, INFORMATIONAL, LOW, NETWORK, class, file, host};
use crate::record::*;
use serde_json::{Value as Json, json};

impl Exporter<'_> {
    /// A tool as an application: its name, and the component by its hash.
    fn app(&self, t: u64) -> Json {
        match self.tools.get(&t) {
            Some((name, hash)) => json!({ "name": name, "uid": format!("sha256:{hash}"), "vendor_name": "unknown" }),
            None => json!({ "name": format!("t{t}"), "vendor_name": "unknown" }),
        }
    }

    /// A tool as whoever did something.
    fn tool(&self, t: u64) -> Json {
        let name = self.tools.get(&t).map_or_else(|| format!("t{t}"), |(name, _)| name.clone());
        json!({ "app_name": name, "app_uid": format!("t{t}") })
    }

    /// What an event about a tool's life has of its own.
    pub(super) fn tool_life(&self, leaf: &Leaf) -> Json {
        if let Body::ToolStart(start) = &leaf.body {
            return json!({ "app": self.app(start.t), "actor": self.tool(start.t) });
        }
        let Body::ToolEnd(end) = &leaf.body else { return json!({}) };
        let answered = end.cause == Cause::Exit && end.status == 0;
        json!({
            "app": self.app(end.t), "actor": self.tool(end.t), "status_id": if answered { 1 } else { 2 },
            "status_detail": end.why, "duration": end.wall_us / 1000,
        })
    }

    /// What an event about a use has of its own.
    pub(super) fn tool_use(&self, used: &ToolUse) -> Json {
        let (status, code) = used.errno.map_or((1, None), |errno| (2, Some(errno.to_string())));
        let count = used.below.or(used.times);
        let actor = self.tool(used.t);
        if let Some(path) = &used.path {
            // Of several names, the directory above them stands for all.
            let type_id = if used.below.is_some() { 2 } else { 0 };
            let result = used.to.as_ref().map(|to| file(to, 0, None, None));
            return json!({
                "actor": actor, "file": file(path, type_id, None, None), "file_result": result, "status_id": status,
                "status_code": code, "count": count, "status_detail": used.fl,
            });
        }
        if let Some(name) = &used.host {
            return json!({
                "actor": actor, "dst_endpoint": host(name, used.port, None), "status_id": status, "status_code": code,
                "count": count,
            });
        }
        json!({ "actor": actor, "status_id": status, "status_code": code, "count": count })
    }
}

pub(super) fn of_use(used: &ToolUse) -> Class {
    let of = match used.op {
        ToolOp::Read | ToolOp::List | ToolOp::Readlink => class(FILE, 2, "Read"),
        ToolOp::Write => class(FILE, 3, "Update"),
        ToolOp::Stat => class(FILE, 8, "Get Attributes"),
        ToolOp::Open => class(FILE, 14, "Open"),
        ToolOp::Unlink
        | ToolOp::Rmdir
        | ToolOp::Rename
        | ToolOp::Link
        | ToolOp::Symlink
        | ToolOp::Mkdir
        | ToolOp::Chmod
        | ToolOp::Utimes
        | ToolOp::Truncate => used.op.change().map_or(class(FILE, 0, "Unknown"), of_operation),
        ToolOp::Request | ToolOp::Connect => class(NETWORK, 1, "Open"),
        ToolOp::Moved => class(NETWORK, 6, "Traffic"),
        ToolOp::Clock
        | ToolOp::Random
        | ToolOp::Env
        | ToolOp::Stdin
        | ToolOp::Args
        | ToolOp::Socket
        | ToolOp::Lookup => class(BASE, 99, "Tool Use"),
    };
    of.severity(if used.errno.is_some() { LOW } else { INFORMATIONAL })
}
