//! A log for other programs: the bytes as they are, and what the formats of others have in common.
//! It never leaves out a record, and never shows a value behind a digest unless told to.

use super::{Disclose, LogReader};
use crate::disclose::{Disclosed, Value};
use crate::error::{At as _, Result};
use crate::merkle::Hash;
use crate::record::{Digest, LogPath};
use crate::text::printable_bytes;
use serde_json::{Map, Value as Json};
use std::collections::HashMap;
use std::io::Write;

impl LogReader {
    /// Writes one leaf a line, as it is in the log; with [`Disclose::Yes`], openings as extra lines `{"opening":…}` right
    /// after the leaf that has their digests. Behind the session's leaves follow those of its follow-up log, after a line
    /// `{"log":"NAME"}`: its leaves are numbered anew.
    ///
    /// # Errors
    /// As [`LogReader::each`]; an error of `out` names the log's directory.
    pub fn export_jsonl(&self, after: Option<&Self>, out: &mut dyn Write, disclose: Disclose) -> Result<()> {
        let openings = match disclose {
            Disclose::No => HashMap::new(),
            Disclose::Yes => self.disclosed()?,
        };
        self.each_bytes(&mut |n, bytes| {
            out.write_all(bytes).and_then(|()| out.write_all(b"\n")).at("export", &self.dir)?;
            if openings.is_empty() {
                return Ok(());
            }
            for digest in self.leaf(n, bytes)?.disclosed {
                if let Some(Disclosed { name, value }) = openings.get(&digest.0) {
                    let line =
                        serde_json::json!({"opening": crate::text::base64url(&digest.0), "name": name, "value": value});
                    writeln!(out, "{line}").at("export", &self.dir)?;
                }
            }
            Ok(())
        })?;
        let Some(after) = after else { return Ok(()) };
        self.write_line(out, &serde_json::json!({ "log": after.origin() }))?;
        after.export_jsonl(None, out, Disclose::No)
    }

    /// Openings by digest; none when they are not to be shown.
    pub(super) fn openings_to_show(&self, disclose: Disclose) -> Result<HashMap<Hash, Disclosed>> {
        match disclose {
            Disclose::No => Ok(HashMap::new()),
            Disclose::Yes => self.disclosed(),
        }
    }

    /// Writes one JSON value a line.
    pub(super) fn write_line(&self, out: &mut dyn Write, value: &Json) -> Result<()> {
        writeln!(out, "{value}").at("export", &self.dir)
    }
}

/// A path as text: what it is where that is UTF-8, else what is safe to show of it.
pub(super) fn text(path: &LogPath) -> String {
    String::from_utf8(path.0.clone()).unwrap_or_else(|_| printable_bytes(&path.0))
}

/// The value of this name among the digests, as one text.
pub(super) fn opened(openings: &HashMap<Hash, Disclosed>, digests: &[Digest], name: &str) -> Option<String> {
    let found = digests.iter().filter_map(|digest| openings.get(&digest.0)).find(|value| value.name == name)?;
    Some(match &found.value {
        Value::Bytes(bytes) => text(bytes),
        Value::List(words) => words.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Pairs(pairs) => {
            pairs.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>().join(" ")
        }
    })
}

/// An object without the members that say nothing.
pub(super) fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    let said = members.into_iter().filter(|(_, value)| !value.is_null());
    Json::Object(said.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// Address and port of `198.18.0.7:443` or `[::1]:80`; `None` for anything else.
pub(super) fn endpoint(addr: &str) -> Option<(&str, u16)> {
    let (address, port) = addr.rsplit_once(':')?;
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    bare.parse::<std::net::IpAddr>().ok()?;
    Some((bare, port.parse().ok()?))
}
