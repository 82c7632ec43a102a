//! Counts the lines, words and characters of a text: a tool of your own begins here. It never reaches anything but its
//! arguments, and its manifest says so.

use serde_json::{Value, json};
use stockade_guest::{Failure, Reply};

stockade_guest::tool!(answer);

fn answer(arguments: &str) -> Result<Reply, Failure> {
    let arguments: Value = serde_json::from_str(arguments)
        .map_err(|error| Failure::InvalidArguments(format!("the arguments are not JSON: {error}")))?;
    let Some(text) = arguments["text"].as_str() else {
        // What a model reads: what was wrong, and what would work.
        return Err(Failure::InvalidArguments("\"text\" is missing, and must be a string".to_owned()));
    };
    let (lines, words, characters) = count(text);
    let structured = json!({ "lines": lines, "words": words, "characters": characters }).to_string();
    Ok(Reply {
        text: format!("{lines} lines, {words} words, {characters} characters"),
        structured: Some(structured),
        images: Vec::new(),
    })
}

fn count(text: &str) -> (usize, usize, usize) {
    (text.lines().count(), text.split_whitespace().count(), text.chars().count())
}

#[cfg(test)]
mod tests {
    #[test]
    fn everything_is_counted() {
        assert_eq!(super::count("one two\nthree"), (2, 3, 13));
        assert_eq!(super::count(""), (0, 0, 0));
    }
}
