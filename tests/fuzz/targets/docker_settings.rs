//! Settings of the docker command, which any program may have written: a context and an address, or a refusal, and no
//! address that is not a path of this machine.
//! It never opens a file or a socket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::backend::container::engine::place::{Wanted, socket};
use stockade::backend::container::engine::reference::Reference;
use stockade::backend::container::engine::settings::{context_host, current_context};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(name)) = current_context(bytes) {
        assert!(!name.is_empty() && name != "default" && name.len() <= 255, "a context has a name");
    }
    if let Ok(host) = context_host(bytes, "box") {
        check(host.as_bytes());
    }
    check(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    drop(Wanted::parse(text));
    if let Ok(reference) = Reference::parse(text) {
        let written = reference.to_string();
        assert_eq!(written, text, "a reference is written as it was read");
        // Dots may stand in a tag; as a whole part they would lead to another request.
        let leads_on = written.contains(['?', '#', '%', ' ', '\\'])
            || written.split('/').any(|part| matches!(part, "" | "." | ".."));
        assert!(!leads_on, "it is part of no other request");
    }
});

fn check(host: &[u8]) {
    if let Ok(path) = socket(host) {
        assert!(path.is_absolute() && path.as_os_str().len() <= 107, "a socket is a path");
    }
}
