//! The catalogue: what each tool is called, what it takes and answers, and what a client may tell a person of it.
//! It never says that a tool may be used: the profile does, call by call.

use crate::error::{Error, Result};
use crate::gateway::mcp::args::flaw;
use crate::gateway::mcp::bash;
use crate::gateway::mcp::components;
use crate::gateway::mcp::desk::Work;
use crate::gateway::mcp::pages::{Cursor, Page};
use crate::gateway::mcp::review::{self, Asked};
use crate::session::Session;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Map, Value};
use std::sync::Arc;
use stockade_policy::{Call, Flaw, RawCall, ToolName};

/// What a client asks for: something for the desk, or a page that is there already.
#[derive(Debug)]
pub(super) enum Wanted {
    /// For the desk.
    Work(Work),
    /// A further page of what an earlier call printed, and how it is told.
    More(Cursor, fn(&Page) -> bash::Told),
}

/// What a tool does to the world, for whoever asks a person whether it may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It looks.
    Reads,
    /// It looks, at other machines too.
    Asks,
    /// It changes files of the session; nothing of the host's until somebody applies.
    Changes,
    /// It can do anything that the sandbox lets it.
    Anything,
}

impl Effect {
    /// The same as MCP says it.
    pub(super) fn annotations(self) -> ToolAnnotations {
        let of = |reads, destroys, repeats, open| {
            ToolAnnotations::new().read_only(reads).destructive(destroys).idempotent(repeats).open_world(open)
        };
        match self {
            Self::Reads => of(true, false, true, false),
            Self::Asks => of(false, false, false, true),
            Self::Changes => of(false, true, false, false),
            Self::Anything => of(false, true, false, true),
        }
    }
}

/// A tool that clients are told of.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    /// As they see it.
    pub(super) tool: Tool,
    /// Whether the profile allows it as such.
    pub(super) granted: bool,
}

/// A tool that is ours.
struct Own {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    input: &'static str,
    output: &'static str,
    effect: Effect,
}

const OWN: [Own; 4] = [
    Own {
        name: bash::NAME,
        title: "Run a command",
        description: "Run a bash command line in the sandbox. Each call is a new shell in the workspace: a directory that it \
            changes to and variables that it sets are gone afterwards, files stay. What the profile does not grant (paths, \
            hosts, programs) is refused by the kernel. Long output is shown in part, with a cursor for the rest. \
            Background processes end with the call.",
        input: bash::INPUT,
        output: bash::OUTPUT,
        effect: Effect::Anything,
    },
    Own {
        name: "diff",
        title: "Show what changed",
        description: "Show what this session has changed in the workspace so far, as a patch. The changes wait for review: \
            the host's files are as they were until somebody applies.",
        input: r#"{
  "type": "object",
  "properties": {
    "paths": {"type": "array", "items": {"type": "string"}, "description": "Only these, and what lies below. Default: all."},
    "names_only": {"type": "boolean", "description": "Names instead of a patch."},
    "cursor": {"type": "string", "description": "Read more of an earlier result: its cursor, and no other argument."}
  },
  "additionalProperties": false
}"#,
        output: r#"{
  "type": "object",
  "properties": {
    "changes": {"type": "array", "items": {"type": "object", "properties": {
      "path": {"type": "string"},
      "kind": {"type": "string", "enum": ["created", "modified", "deleted", "type-changed", "mode-changed", "metadata"]},
      "lines_added": {"type": "integer", "minimum": 0},
      "lines_removed": {"type": "integer", "minimum": 0},
      "needs": {"type": "string", "enum": ["consent", "never applied"]}
    }, "required": ["path", "kind"]}, "description": "The first 200 of them."},
    "total": {"type": "integer", "minimum": 0},
    "patch": {"type": "string", "description": "This page of the patch."},
    "left_out_bytes": {"type": "integer", "minimum": 0},
    "cursor": {"type": "string", "description": "To read on: call diff with this cursor alone."}
  },
  "required": ["patch", "left_out_bytes"],
  "additionalProperties": false
}"#,
        effect: Effect::Reads,
    },
    Own {
        name: "apply",
        title: "Take changes into the workspace",
        description: "Take what this session has changed into the host's workspace: everything, or these paths. Files that \
            would run later on the host (hooks, workflows, editor tasks) are left out: a person takes them. The session ends \
            with it and a new one begins on the workspace as it is then, without what was left out. Most profiles leave \
            this to a person.",
        input: r#"{
  "type": "object",
  "properties": {
    "paths": {"type": "array", "items": {"type": "string"}, "description": "Only these, and what lies below. Default: all."}
  },
  "additionalProperties": false
}"#,
        output: r#"{
  "type": "object",
  "properties": {
    "applied": {"type": "array", "items": {"type": "string"}, "description": "Paths, the first 200 of them."},
    "left_out": {"type": "array", "items": {"type": "object", "properties": {
      "path": {"type": "string"}, "why": {"type": "string"}}, "required": ["path", "why"]}},
    "blocked": {"type": "boolean", "description": "Nothing was applied, because of a conflict."},
    "ended_session": {"type": "string"},
    "session": {"type": "string"}
  },
  "required": ["applied", "left_out", "blocked"],
  "additionalProperties": false
}"#,
        effect: Effect::Anything,
    },
    Own {
        name: "audit_receipt",
        title: "Prove what was done",
        description: "Where this session's signed log stands: a checkpoint that covers everything up to this call, and the \
            positions of earlier calls in it. A person checks it with `stockade verify`.",
        input: r#"{
  "type": "object",
  "properties": {
    "calls": {"type": "integer", "minimum": 1, "description": "How many earlier calls to list, at most 100. Default: 10."}
  },
  "additionalProperties": false
}"#,
        output: r#"{
  "type": "object",
  "properties": {
    "log": {"type": "string", "description": "Name of the session and its log."},
    "position": {"type": "integer", "minimum": 0, "description": "Leaf of this call's result."},
    "leaf_hash": {"type": "string"},
    "covered": {"type": "boolean", "description": "Whether the checkpoint covers it."},
    "checkpoint": {"type": "string", "description": "A signed note: C2SP tlog-checkpoint."},
    "calls": {"type": "array", "items": {"type": "object", "properties": {
      "tool": {"type": "string"}, "position": {"type": "integer"}, "leaf_hash": {"type": "string"}},
      "required": ["tool", "position", "leaf_hash"]}},
    "verify": {"type": "string", "description": "The command that checks the log."}
  },
  "required": ["log", "position", "leaf_hash", "covered", "checkpoint", "calls", "verify"],
  "additionalProperties": false
}"#,
        effect: Effect::Reads,
    },
];

/// All tools: ours first, then components. One that the profile does not grant says so: asking for it is how a model can
/// learn what would be granted instead.
///
/// # Errors
/// Operator: a directory that the profile names cannot be read, or it gives a component the name of a tool of ours.
pub(super) fn all(session: &Session) -> Result<Vec<Tool>> {
    let granted = |name: &str| name == bash::NAME || ToolName::parse(name).is_ok_and(|name| session.grants_tool(&name));
    let own = OWN.iter().map(|own| Offer { tool: tool(own), granted: granted(own.name) });
    let others = components::offered(session)?;
    if let Some(taken) = others.iter().find(|offer| OWN.iter().any(|own| offer.tool.name == own.name)) {
        let what =
            format!("the profile names a component \"{}\", and this server has a tool of that name", taken.tool.name);
        return Err(Error::operator(what).hint("give the component another name"));
    }
    let said = |Offer { mut tool, granted }: Offer| {
        if !granted {
            let description = tool.description.unwrap_or_default();
            tool.description = Some(format!("{description} Not granted by this session's profile as a rule.").into());
        }
        tool
    };
    Ok(own.chain(others).map(said).collect())
}

fn tool(own: &Own) -> Tool {
    Tool::new(own.name, own.description, schema(own.input))
        .with_title(own.title)
        .with_raw_output_schema(schema(own.output))
        .with_annotations(own.effect.annotations())
}

fn schema(text: &str) -> Arc<JsonObject> {
    Arc::new(serde_json::from_str(text).expect("schemas of ours are JSON objects; a test reads each"))
}

/// What a call of a tool that there is wants.
///
/// # Errors
/// What is wrong with its arguments, and what would do.
pub(super) fn wanted(name: &str, args: Map<String, Value>) -> std::result::Result<Wanted, Flaw> {
    type Read = fn(Map<String, Value>) -> std::result::Result<Asked, Flaw>;
    let read: Read = match name {
        bash::NAME => return bash(args),
        "diff" => review::diff_asked,
        "apply" => review::apply_asked,
        "audit_receipt" => review::receipt_asked,
        _ => return Ok(Wanted::Work(Work::Tool(call(name, &args)?))),
    };
    let call = call(name, &args)?;
    Ok(match read(args)? {
        Asked::Do(review) => Wanted::Work(Work::Review(call, review)),
        Asked::More(cursor) => Wanted::More(cursor, review::more),
    })
}

fn bash(args: Map<String, Value>) -> std::result::Result<Wanted, Flaw> {
    Ok(match bash::asked(args)? {
        bash::Asked::Run(call, stdin) => Wanted::Work(Work::Command(call, stdin)),
        bash::Asked::More(cursor) => Wanted::More(cursor, bash::more),
    })
}

/// The call as the policy reads it: by the one reader that all wires share, with its limits.
fn call(name: &str, args: &Map<String, Value>) -> std::result::Result<Call, Flaw> {
    let raw = serde_json::to_vec(&serde_json::json!({ "tool": name, "args": args }));
    let raw = raw.map_err(|error| flaw(format!("the arguments cannot be written: {error}"), "send other ones"))?;
    RawCall::new(&raw).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_of_ours_is_an_object_that_closes_itself() {
        for tool in OWN.iter().map(tool) {
            for schema in [Some(&tool.input_schema), tool.output_schema.as_ref()] {
                let schema = schema.expect("each tool has both");
                assert_eq!(schema.get("type").and_then(Value::as_str), Some("object"), "{}", tool.name);
                assert_eq!(schema.get("additionalProperties"), Some(&Value::Bool(false)), "{}", tool.name);
                // The model's side takes none of these at the top.
                assert!(["anyOf", "oneOf", "allOf"].iter().all(|key| !schema.contains_key(*key)), "{}", tool.name);
            }
            assert!(tool.title.is_some() && tool.description.is_some() && tool.annotations.is_some());
            let component = matches!(wanted(&tool.name, Map::new()), Ok(Wanted::Work(Work::Tool(_))));
            assert!(!component, "{} is listed as ours and called as a component", tool.name);
        }
    }
}
