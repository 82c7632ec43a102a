//! Replies of programs that hand out secrets: any bytes are a value or a refusal, and a refusal never repeats the reply.
//! It never starts a program.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade::secrets::plain::PLAIN_BYTES_MAX;
use stockade::secrets::source::exec::read_reply;
use stockade_policy::SecretName;

/// Stands in the values of seeds: what a message must not have.
const VALUE: &str = "s3cr3t-value";

fuzz_target!(|bytes: &[u8]| {
    let name = SecretName::parse("example").expect("a name");
    match read_reply(bytes, &name) {
        Ok(value) => assert!(!value.is_empty() && value.len() <= PLAIN_BYTES_MAX, "a value is within its limits"),
        Err(refused) => {
            let said = refused.to_string();
            assert!(said.contains("\"example\""), "a refusal names the secret");
            // The program's own explanation is shown on purpose; a value is not.
            let explained = String::from_utf8_lossy(bytes).contains("errors");
            assert!(explained || !said.contains(VALUE), "a refusal repeats a value");
        }
    }
});
