//! The tool `write` as a component: the toolkit's function on the files that were granted. It never reaches anything else.

use stockade_guest::{Failure, Reply};

stockade_guest::tool!(answer);

fn answer(arguments: &str) -> Result<Reply, Failure> {
    stockade_guest_files::change(stockade_toolkit::write::run, arguments)
}
