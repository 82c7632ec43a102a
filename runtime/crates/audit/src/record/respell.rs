//! The slow way to read a leaf: as any JSON, written again, and compared. What the strict reader is held against in
//! tests, under the fuzzer, and in every build with debug assertions.
//! It never runs in a release.

use super::leaf::{Place, parse_tail, write_leaf};
use super::{Body, Head, Leaf, Record, parse_head};
use crate::merkle::Hash;
use serde::Deserialize;

/// The value at the start of `json`, in any spelling, and how many bytes it has.
pub(super) fn read_any<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<(T, usize)> {
    let mut values = serde_json::Deserializer::from_slice(json).into_iter::<T>();
    let value = values.next().unwrap_or_else(|| Err(serde::de::Error::custom("no object")))?;
    Ok((value, values.byte_offset()))
}

/// The leaf that starts with this head, if writing it again gives the same bytes.
pub(super) fn leaf(head: &Head<'_>) -> Option<Leaf> {
    let (body, len) = Body::read_json(head.kind, head.rest)?.ok()?;
    let leaf = head.with(body, parse_tail(std::str::from_utf8(head.rest.get(len..)?).ok()?)?);
    let Leaf { n, wall_ns, mono_ns, ago_ns, evidence, .. } = leaf;
    let record = Record { evidence, call: leaf.call.clone(), ..Record::new(leaf.body.clone()) };
    let digests: Vec<Hash> = leaf.disclosed.iter().map(|digest| digest.0).collect();
    let place = Place { n, wall_ns, mono_ns, ago_ns };
    let mut again = Vec::new();
    write_leaf(&mut again, &record, place, &digests).ok()?;
    let object = parse_head(&again).expect("what was written has a head").rest;
    (object == head.rest).then_some(leaf)
}

#[cfg(test)]
mod tests;
