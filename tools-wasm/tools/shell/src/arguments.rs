//! The arguments of one call, from the JSON text that a model wrote.
//! It never fills in a value that was given and is wrong.

use serde::Deserialize;

/// The longest script.
const COMMAND_BYTES_MAX: usize = 1 << 20;
pub(crate) const TIMEOUT_S_MAX: u32 = 600;
const TIMEOUT_S: u32 = 120;
/// Both streams come back twice, as text and as JSON, where one byte may take six: that must fit into an answer (16 MiB).
const OUTPUT_BYTES_MAX: usize = 512 << 10;
const OUTPUT_BYTES: usize = 256 << 10;

/// What a call asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// The script.
    pub command: String,
    /// Where it starts: absolute, or below the workspace.
    #[serde(default)]
    pub cwd: Option<String>,
    /// What it reads as its standard input.
    #[serde(default)]
    pub stdin: Option<String>,
    /// After how many seconds it ends.
    #[serde(default)]
    pub timeout_s: Option<u32>,
    /// How much of each output stream comes back.
    #[serde(default)]
    pub output_bytes: Option<usize>,
}

impl Arguments {
    /// Reads and checks them; the error says what would be right.
    pub fn parse(text: &str) -> Result<Arguments, String> {
        let arguments: Arguments = serde_json::from_str(text)
            .map_err(|error| format!("{error}; the arguments are {{\"command\": SCRIPT, \"cwd\"?, \"stdin\"?, \"timeout_s\"?, \"output_bytes\"?}}"))?;
        if arguments.command.trim().is_empty() {
            return Err("`command` is empty: give a script".to_owned());
        }
        if arguments.command.len() > COMMAND_BYTES_MAX {
            return Err(format!(
                "`command` has more than {COMMAND_BYTES_MAX} bytes: write a file, and let the script read it"
            ));
        }
        if !(1..=TIMEOUT_S_MAX).contains(&arguments.timeout_s()) {
            return Err(format!("`timeout_s` is from 1 to {TIMEOUT_S_MAX}"));
        }
        if !(1..=OUTPUT_BYTES_MAX).contains(&arguments.output_bytes()) {
            return Err(format!("`output_bytes` is from 1 to {OUTPUT_BYTES_MAX}"));
        }
        Ok(arguments)
    }

    pub(crate) fn timeout_s(&self) -> u32 {
        self.timeout_s.unwrap_or(TIMEOUT_S)
    }

    pub(crate) fn output_bytes(&self) -> usize {
        self.output_bytes.unwrap_or(OUTPUT_BYTES)
    }
}
