//! A tool that does nothing: what remains of a call's cost is the runtime's. It never looks at its arguments.

use stockade_guest::{Failure, Reply};

stockade_guest::tool!(answer);

fn answer(_arguments: &str) -> Result<Reply, Failure> {
    Ok(Reply { text: String::new(), structured: Some("{}".to_owned()), images: Vec::new() })
}
