//! Tools that are components: how a client sees one, and what became of a call of it.
//! It never passes on what is longer than a model should get at once, and says what it left out.

use crate::backend::wasm::manifest::{Ceiling, Manifest, Schema};
use crate::backend::wasm::{End, Failure, Files, Reply};
use crate::error::Result;
use crate::gateway::mcp::bash::limit;
use crate::gateway::mcp::desk::Progress;
use crate::gateway::mcp::tools::{Effect, Offer};
use crate::gateway::mcp::words::{self, Answer, Stamp};
use crate::session::Session;
use crate::session::tools::{Called, Promised};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool};
use serde_json::Value;
use std::sync::Arc;
use stockade_policy::ToolName;

/// Longest text of an answer, bytes. Our own tools have pages; others may not.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Longest structured content, bytes. It cannot be cut and still fit its schema.
const STRUCTURED_BYTES_MAX: usize = 256 * 1024;
/// All images of an answer together, bytes.
const IMAGES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The component that is there to be measured: nothing for a model.
const FOR_BENCHES: &str = "noop";

/// The components of a session, in the order of their names. One that cannot be read is left out, and operators are told.
///
/// # Errors
/// Operator: a directory that the profile names cannot be read.
pub(super) fn offered(session: &Session) -> Result<Vec<Offer>> {
    let mut offers = Vec::new();
    for name in session.tool_names()?.into_iter().filter(|name| is_name(name.as_str())) {
        let granted = session.grants_tool(&name);
        if name.as_str() == FOR_BENCHES && !granted {
            continue;
        }
        match session.tool(&name) {
            Ok((known, _)) => offers.push(Offer { tool: tool(&name, known.component.manifest()), granted }),
            Err(error) => tracing::warn!(%error, tool = %name, "a tool is not offered"),
        }
    }
    Ok(offers)
}

/// Whether clients take it for a tool's name (MCP 2025-11-25, "Tool Names").
fn is_name(name: &str) -> bool {
    name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// A component under the name that calls use, which is the profile's to give: what it calls itself is no name here.
fn tool(name: &ToolName, manifest: &Manifest) -> Tool {
    let schema = |schema: &Schema| -> Arc<JsonObject> { Arc::new(schema.members().clone()) };
    let tool = Tool::new(name.to_string(), manifest.description.clone(), schema(&manifest.input_schema))
        .with_title(title(name.as_str()))
        .with_annotations(effect(&manifest.ceiling).annotations());
    match &manifest.output_schema {
        Some(output) => tool.with_raw_output_schema(schema(output)),
        None => tool,
    }
}

/// What a person reads.
fn title(name: &str) -> String {
    let known = match name {
        "read" => "Read a file",
        "write" => "Write a file",
        "edit" => "Change a file",
        "patch" => "Apply a patch to the session's files",
        "glob" => "Find files by name",
        "grep" => "Search in files",
        "list" => "List a directory",
        "fetch" => "Fetch a URL",
        "shell" => "Run a command line without a process",
        "python" => "Run Python without a process",
        _ => return name.to_owned(),
    };
    known.to_owned()
}

fn effect(ceiling: &Ceiling) -> Effect {
    match (ceiling.files, ceiling.network) {
        (Files::None | Files::Read, false) => Effect::Reads,
        (Files::None | Files::Read, true) => Effect::Asks,
        (Files::Write, false) => Effect::Changes,
        (Files::Write, true) => Effect::Anything,
    }
}

/// Passes on how far a tool says that it is.
pub(super) fn progress(to: &Progress, said: &crate::backend::wasm::Progress) {
    to.note(|| match said.total {
        Some(total) => format!("{} of {total}: {}", said.done, said.what),
        None => format!("{}: {}", said.done, said.what),
    });
}

/// What became of a call.
pub(super) fn told(called: Called, stamp: &Stamp) -> Answer {
    let answer = match called.ran.end {
        End::Answered(reply) => answered(reply, called.promised),
        End::Refused(Failure::InvalidArguments(why)) => words::error(format!("invalid arguments: {why}")),
        End::Refused(Failure::Refused(why)) => words::error(why),
        End::Trapped { why } => words::error(format!(
            "the tool broke: {why}\nhint: the session goes on; try other arguments, or bash for the same work"
        )),
        End::Limit(hit) => words::error(format!("ended: {}\nhint: ask for less at once", limit(&hit))),
        End::Died { why } => words::error(format!(
            "the tool's worker ended: {why}\nhint: the session goes on; the call can be tried again"
        )),
        End::Cancelled => words::error("cancelled".to_owned()),
    };
    words::stamped(answer, stamp)
}

fn answered(reply: Reply, promised: Promised) -> Answer {
    let structured = match reply.structured.map(|text| (text.len(), serde_json::from_str::<Value>(&text))) {
        None => None,
        Some((bytes, _)) if bytes > STRUCTURED_BYTES_MAX => {
            return words::error(format!(
                "the tool answered with {bytes} bytes of structured content, more than {STRUCTURED_BYTES_MAX}\nhint: ask \
                 for less at once"
            ));
        }
        Some((_, Ok(value @ Value::Object(_)))) => Some(value),
        // Clients throw the whole answer away for it.
        Some((_, Ok(_))) => {
            return words::error("the tool broke: its structured content is not a JSON object".to_owned());
        }
        Some((_, Err(error))) => {
            return words::error(format!("the tool broke: its structured content is not JSON: {error}"));
        }
    };
    let mut content = vec![ContentBlock::text(cut(reply.text))];
    let mut room = IMAGES_BYTES_MAX;
    for (media_type, bytes) in reply.images {
        match room.checked_sub(bytes.len()) {
            Some(rest) => {
                room = rest;
                content.push(ContentBlock::image(stockade_audit::text::base64(&bytes), media_type));
            }
            None => content.push(ContentBlock::text(format!("[an image of {} bytes is left out]", bytes.len()))),
        }
    }
    if structured.is_none() && promised == Promised::Structured {
        // Clients hold a success against the schema, and throw it away; of an error they show what there is.
        let missing = "[its structured content is missing, or could not be shown without a secret]";
        content.push(ContentBlock::text(missing));
        return CallToolResult::error(content);
    }
    let mut answer = CallToolResult::success(content);
    answer.structured_content = structured;
    answer
}

/// A text of any length as far as a model gets it.
fn cut(mut text: String) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let left_out = text.len() - end;
    text.truncate(end);
    text.push_str(&format!("\n[{left_out} bytes are left out: ask for less at once]\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_any_size_are_bounded() {
        let reply = |text: usize, structured: Option<String>, images: &[usize]| Reply {
            text: "é".repeat(text),
            structured,
            images: images.iter().map(|bytes| ("image/png".to_owned(), vec![0; *bytes])).collect(),
        };
        let size = |answer: &Answer| serde_json::to_vec(answer).map_or(0, |bytes| bytes.len());
        let answered = |reply| answered(reply, Promised::Text);
        let long = answered(reply(1_000_000, None, &[3_000_000, 3_000_000, 1000]));
        assert!(size(&long) < TEXT_BYTES_MAX + IMAGES_BYTES_MAX * 4 / 3 + 4096, "{}", size(&long));
        assert_eq!(long.content.len(), 4);
        let huge = answered(reply(1, Some(format!("{{\"a\":\"{}\"}}", "x".repeat(STRUCTURED_BYTES_MAX))), &[]));
        assert!(size(&huge) < 1000 && huge.is_error == Some(true));
        let broken = answered(reply(1, Some("{".to_owned()), &[]));
        assert_eq!(broken.is_error, Some(true));
    }

    #[test]
    fn no_success_is_one_that_clients_throw_away() {
        let answer = |structured: Option<&str>, promised| {
            let structured = structured.map(str::to_owned);
            let answer = answered(Reply { text: "said".to_owned(), structured, images: Vec::new() }, promised);
            let text = serde_json::to_string(&answer.content).unwrap_or_default();
            (answer.is_error, answer.structured_content, text)
        };
        for (structured, promised, is_error, says) in [
            (Some("{}"), Promised::Structured, false, "said"),
            (Some("{}"), Promised::Text, false, "said"),
            (None, Promised::Text, false, "said"),
            (None, Promised::Structured, true, "is missing, or could not be shown without a secret"),
            (Some("[1]"), Promised::Structured, true, "not a JSON object"),
            (Some("[1]"), Promised::Text, true, "not a JSON object"),
            (Some("null"), Promised::Text, true, "not a JSON object"),
        ] {
            let told = answer(structured, promised);
            assert!(told.0 == Some(is_error) && told.2.contains(says), "{structured:?} {promised:?}: {told:?}");
            assert!(is_error || told.1 == structured.and_then(|text| serde_json::from_str(text).ok()), "{told:?}");
        }
        assert!(answer(None, Promised::Structured).2.contains("said"), "what can be shown is shown");
    }

    #[test]
    fn a_component_is_offered_by_the_name_that_calls_it() {
        let manifest = r#"{"name":"read","version":"1","description":"d","input_schema":{"type":"object"}}"#;
        let manifest = Manifest::parse(manifest.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let name = ToolName::parse("mine").expect("a name");
        let offered = tool(&name, &manifest);
        assert_eq!((offered.name.as_ref(), offered.title.as_deref()), ("mine", Some("mine")));
    }

    #[test]
    fn names_that_clients_refuse_are_not_offered() {
        assert!(is_name("read") && is_name("a.b-c_D9"));
        assert!(!is_name("net/connect") && !is_name(&"x".repeat(129)) && !is_name("é"));
    }
}
