//! What a component's manifest promises both ways: what a call of it has, and what its reply has.
//! It never lets a call begin that does not keep the first, and never passes on a reply that does not keep the second.
//!
//! Components that are part of this program are not held to it: they take more than their schemas say, numbers as texts
//! and names that models know from elsewhere, and say what is wrong in words of their own. Their tests hold them.

use super::clean::Cleaner;
use super::{Known, Origin};
use crate::backend::wasm::{End, ToolRan};
use crate::error::{Error, Result};
use crate::journal::Logged;
use stockade_policy::Action;

/// Holds the arguments of a logged call against the manifest's input schema. What is quoted of them has no secret.
///
/// # Errors
/// Guest: they do not fit it.
pub(super) fn asked(known: &Known, logged: &Logged, cleaner: &Cleaner) -> Result<()> {
    let Action::Tool { args, .. } = logged.call().action() else {
        return Err(Error::bug("a call that is not one of a tool came to a component"));
    };
    match known.origin {
        Origin::BuiltIn => Ok(()),
        Origin::Rule { .. } => {
            let schema = &known.component.manifest().input_schema;
            let args = stockade_policy::arguments_json(args);
            schema.fits(&args, "the object of arguments", &|text| cleaner.quoted(text)).map_err(|what| {
                Error::guest(what).hint("nothing ran; `stockade tool inspect --json` and tools/list have the schema")
            })
        }
    }
}

/// Holds a reply against the manifest's output schema. One that does not fit is the component's fault: nobody gets it, and
/// what is quoted of it has no secret.
pub(super) fn kept(known: &Known, ran: &mut ToolRan, cleaner: &Cleaner) {
    let (End::Answered(reply), Some(schema), Origin::Rule { .. }) =
        (&ran.end, &known.component.manifest().output_schema, &known.origin)
    else {
        return;
    };
    let broken = match &reply.structured {
        None => Some("there is no structured content".to_owned()),
        Some(json) => schema.fits(json, "the structured content", &|text| cleaner.quoted(text)).err(),
    };
    if let Some(what) = broken {
        let why = format!("its reply is not what its manifest promises (output_schema): {what}");
        ran.end = End::Trapped { why };
    }
}
