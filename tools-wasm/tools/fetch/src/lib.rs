//! The tool `fetch` as a component: the toolkit's function on the requests that the host makes. It never reaches
//! anything else.

use stockade_guest::{Failure, Reply};

stockade_guest::tool!(answer);

fn answer(arguments: &str) -> Result<Reply, Failure> {
    let answer = stockade_toolkit::fetch::run(arguments, &stockade_guest_http::Granted);
    answer.map(stockade_guest_files::reply).map_err(stockade_guest_files::failure)
}
