//! What `stockade run --report` writes, as far as tests read it.
//! It never guesses: a field that is missing is missing.

use serde_json::Value;
use std::path::Path;

/// The report of one run.
#[derive(Debug, Clone)]
pub struct Report(Value);

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// A text that says which file and why, for the test's failure.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("report {}: {e}", path.display()))?;
        serde_json::from_str(&text).map(Self).map_err(|e| format!("report {}: {e}: {text}", path.display()))
    }

    /// A field as text; `None` when it is absent or not text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }

    /// A field, printed; empty when it is absent.
    pub fn printed(&self, key: &str) -> String {
        self.0.get(key).map(Value::to_string).unwrap_or_default()
    }

    /// Paths of the changes, sorted.
    pub fn changed_paths(&self) -> Vec<String> {
        let changes = self.0.get("changes").and_then(Value::as_array);
        let path = |change: &Value| change.get("path").and_then(Value::as_str).map(str::to_owned);
        let mut paths: Vec<String> = changes.into_iter().flatten().filter_map(path).collect();
        paths.sort();
        paths
    }
}
