//! A plain program: what its first argument says is what it does. It knows of nothing but the standard library.
#![expect(clippy::disallowed_methods, reason = "a guest: its environment is what it was granted")]

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::{env, fs, io};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        // Without arguments it says how many it has, its name among them.
        [] => println!("{} arguments", env::args().count()),
        ["echo", rest @ ..] => println!("{}", rest.join("|")),
        ["cat"] => {
            let mut text = Vec::new();
            let read = io::stdin().read_to_end(&mut text).map(|_| ()).and_then(|()| io::stdout().write_all(&text));
            read.expect("streams of memory do not fail");
            eprintln!("{} bytes", text.len());
        }
        ["exit", status] => std::process::exit(status.parse().expect("a number")),
        ["fail"] => {
            eprintln!("it went wrong");
            return ExitCode::FAILURE;
        }
        ["much", bytes] => print!("{}", "\u{1}".repeat(bytes.parse().expect("a number"))),
        ["panic"] => panic!("as it was told"),
        ["loop"] => loop {
            std::hint::spin_loop();
        },
        ["write", path, text] => fs::write(path, text).expect("it can be written"),
        ["read", path] => match fs::read_to_string(path) {
            Ok(text) => print!("{text}"),
            Err(error) => println!("no: {error}"),
        },
        ["env"] => env::vars().for_each(|(name, value)| println!("{name}={value}")),
        other => {
            eprintln!("{other:?} is nothing that it does");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
