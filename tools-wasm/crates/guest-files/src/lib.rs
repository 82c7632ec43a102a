//! Files as a tool reaches them through WASI: directories that the host opened before, and nothing else. It never
//! resolves a path: it hands it to the directory that it belongs to.

/// WASI's own words, as Rust.
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "files", generate_all });
}

mod granted;

pub use granted::Granted;
use stockade_guest::{Failure, Image, Reply};
use stockade_toolkit::{
    Answer, Failure as Why,
    files::{Changeable, Files},
};

/// One call of a tool that changes files.
pub fn change(tool: fn(&str, &dyn Changeable) -> Result<Answer, Why>, arguments: &str) -> Result<Reply, Failure> {
    tool(arguments, &Granted::new()).map(reply).map_err(failure)
}

/// One call of a tool that only reads.
pub fn call(tool: fn(&str, &dyn Files) -> Result<Answer, Why>, arguments: &str) -> Result<Reply, Failure> {
    tool(arguments, &Granted::new()).map(reply).map_err(failure)
}

/// An answer as the contract has it.
pub fn reply(answer: Answer) -> Reply {
    let images = answer.images.into_iter().map(|(media_type, bytes)| Image { media_type, bytes }).collect();
    Reply { text: answer.text, structured: Some(answer.structured.to_string()), images }
}

/// A failure as the contract has it.
pub fn failure(why: Why) -> Failure {
    match why {
        Why::InvalidArguments(text) => Failure::InvalidArguments(text),
        Why::Refused(text) => Failure::Refused(text),
    }
}
