//! Names in a layer that have a secret in them, and how the session's log tells them: acts on the layer tell them the same.
//! It never looks for a secret itself.

use super::error::Result;
use super::layer::Layer;
use super::path::{decode_bytes, encode_bytes};
use super::state;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where they are, in the layer's state.
pub(super) const FILE: &str = "hidden.jsonl";

/// By a name as it is, how it is told.
#[derive(Debug, Default)]
pub struct Hidden {
    names: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether there are more than the disk has.
    grown: bool,
}

/// A line of `hidden.jsonl`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HiddenRec {
    name: String,
    shown: String,
}

impl Hidden {
    /// From now on, `name` is told as `shown`.
    pub fn remember(&mut self, name: &[u8], shown: &[u8]) {
        self.grown |= self.names.insert(name.to_vec(), shown.to_vec()).is_none_or(|before| before != shown);
    }

    /// For another layer, whose disk has none of them.
    pub(super) fn grown_from_another(&mut self) {
        self.grown = !self.names.is_empty();
    }

    /// How a name is told.
    #[must_use]
    pub fn shown<'a>(&'a self, name: &'a [u8]) -> &'a [u8] {
        self.names.get(name).map_or(name, Vec::as_slice)
    }
}

impl Layer {
    /// The names that are told in another way than they are.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn hidden(&self) -> Result<Hidden> {
        let mut names = BTreeMap::new();
        state::read_lines(&self.state.join(FILE), |rec: HiddenRec| {
            let name = decode_bytes(&rec.name).ok_or("name")?;
            names.insert(name, decode_bytes(&rec.shown).ok_or("name")?);
            Ok(())
        })?;
        Ok(Hidden { names, grown: false })
    }

    /// Writes down the names that are told in another way than they are, where there are new ones.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn keep_hidden(&self, hidden: &mut Hidden) -> Result<()> {
        if !hidden.grown {
            return Ok(());
        }
        state::replace(&self.state.join(FILE), |out| {
            hidden.names.iter().try_for_each(|(name, shown)| {
                state::write_line(out, &HiddenRec { name: encode_bytes(name), shown: encode_bytes(shown) })
            })
        })?;
        hidden.grown = false;
        Ok(())
    }
}
