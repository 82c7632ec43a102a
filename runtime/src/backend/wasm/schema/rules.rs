//! What a compiled schema is: a list of nodes that refer to each other by their places in it.
//! It never has a name in it that would have to be looked up.

use super::pattern::Pattern;
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// Where a node is.
pub(super) type Index = usize;

/// The types of JSON, as bits.
pub(super) const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// What one schema asks.
#[derive(Debug, Default)]
pub(super) enum Node {
    /// Nothing.
    #[default]
    Always,
    /// What is not there.
    Never,
    /// All of these.
    Rules(Vec<Rule>),
}

/// What one keyword asks, or some that belong together. But for the first two and the last, each is about one type, and takes
/// any other as it is.
#[derive(Debug)]
pub(super) enum Rule {
    /// One of the types whose bit is set.
    Type(u8),
    /// One of the values.
    Enum(Vec<Value>),
    Number(OfNumber),
    Text(OfText),
    Array(OfArray),
    Object(OfObject),
    Together(Together),
}

/// What is asked of a number.
#[derive(Debug)]
pub(super) enum OfNumber {
    Least(Number),
    Above(Number),
    Most(Number),
    Below(Number),
    MultipleOf(Number),
}

/// What is asked of a text.
#[derive(Debug)]
pub(super) enum OfText {
    Length(Range),
    Pattern(Pattern),
}

/// What is asked of an array.
#[derive(Debug)]
pub(super) enum OfArray {
    /// The first by their own, the rest by one.
    Items(Vec<Index>, Option<Index>),
    Contains(Index, Range),
    Count(Range),
    Unique,
}

/// What is asked of an object.
#[derive(Debug)]
pub(super) enum OfObject {
    Members(Members),
    Names(Index),
    Count(Range),
    Required(Vec<String>),
    /// Where the first is there, the others are.
    RequiredWith(String, Vec<String>),
    /// Where the member is there, the whole fits.
    With(String, Index),
}

/// What is asked by other schemas, of the same value.
#[derive(Debug)]
pub(super) enum Together {
    Not(Index),
    All(Vec<Index>),
    Any(Vec<Index>),
    One(Vec<Index>),
    If(Index, Option<Index>, Option<Index>),
}

/// A number of things.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) least: u64,
    pub(super) most: u64,
}

/// Members of an object.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) named: BTreeMap<String, Index>,
    pub(super) patterns: Vec<(Pattern, Index)>,
    pub(super) others: Option<Index>,
}

/// A compiled schema; node 0 is its root.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Node>);

impl Rules {
    /// Of these nodes, whose first is the root.
    pub(super) const fn new(nodes: Vec<Node>) -> Self {
        Self(nodes)
    }

    pub(super) fn node(&self, index: Index) -> &Node {
        self.0.get(index).unwrap_or(&Node::Never)
    }

    /// Whether holding one value against a node comes back to the node with the same value.
    pub(super) fn turns_in_place(&self) -> bool {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            Above,
            Done,
        }
        let mut seen = vec![Seen::No; self.0.len()];
        for start in 0..self.0.len() {
            let mut path: Vec<(Index, Vec<Index>)> = Vec::new();
            let mut next = Some(start);
            loop {
                if let Some(index) = next.take() {
                    match seen.get(index) {
                        Some(Seen::Above) => return true,
                        Some(Seen::No) => {
                            if let Some(seen) = seen.get_mut(index) {
                                *seen = Seen::Above;
                            }
                            path.push((index, self.in_place(index)));
                        }
                        Some(Seen::Done) | None => {}
                    }
                }
                let Some((index, below)) = path.last_mut() else { break };
                next = below.pop();
                if next.is_none() {
                    if let Some(seen) = seen.get_mut(*index) {
                        *seen = Seen::Done;
                    }
                    path.pop();
                }
            }
        }
        false
    }

    /// The nodes that a value is held against because it is held against this one.
    fn in_place(&self, index: Index) -> Vec<Index> {
        let Node::Rules(rules) = self.node(index) else { return Vec::new() };
        let mut below = Vec::new();
        for rule in rules {
            match rule {
                Rule::Together(Together::All(all) | Together::Any(all) | Together::One(all)) => below.extend(all),
                Rule::Together(Together::Not(one)) | Rule::Object(OfObject::With(_, one)) => below.push(*one),
                Rule::Together(Together::If(whether, then, otherwise)) => {
                    below.push(*whether);
                    below.extend(then);
                    below.extend(otherwise);
                }
                Rule::Type(_) | Rule::Enum(_) | Rule::Number(_) | Rule::Text(_) | Rule::Array(_) | Rule::Object(_) => {}
            }
        }
        below
    }
}
