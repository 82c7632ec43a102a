//! The automaton that finds every form of every secret in one pass (Aho and Corasick, 1975).
//! It never leaves a byte of a form in memory when it is dropped, and prints none.
//!
//! It is our own because that of the usual crate cannot be wiped: its tables, which spell the secrets out, are in private
//! boxes. It is also small: the forms are sorted before they go in, so that the first child of a node is the next one, and
//! a node has no table of children.

use super::super::forms::{Form, Reason, Spelling, spellings};
use super::sieve::{Sieve, Suspect};
use super::{FORM_BYTES_MAX, IDLE_BYTES_MAX, Unwatched, Watched};
use std::collections::VecDeque;
use std::fmt;
use zeroize::{DefaultIsZeroes, Zeroize as _};

/// The node of the empty prefix. As a link it means: none.
pub(super) const ROOT: u32 = 0;

/// A prefix of a form.
#[derive(Clone, Copy, Default)]
struct Node {
    /// The longest proper suffix that is a prefix too.
    fail: u32,
    /// The next child of the same parent.
    sibling: u32,
    /// Length of the prefix.
    depth: u32,
    /// The longest form that ends here, in `found`, counted from one; zero is none.
    found: u32,
    /// The last byte of the prefix.
    byte: u8,
}

// All of it is zero in the default: `zeroize` writes that, and the compiler may not leave it out.
impl DefaultIsZeroes for Node {}

/// A form that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) bytes: usize,
    pub(super) secret: u32,
    pub(super) form: Form,
}

/// One form of one secret, before it is in the automaton.
struct Entry {
    spelling: Spelling,
    secret: u32,
}

/// Every form of a set of secrets, ready to be looked for. It is wiped when it is dropped: nodes, and the sieve before them.
pub struct Patterns {
    names: Vec<String>,
    unwatched: Vec<Unwatched>,
    nodes: Vec<Node>,
    /// Children of the root by their byte; wiped with the nodes.
    first: Box<[u32; 256]>,
    found: Vec<Found>,
    sieve: Option<Sieve>,
    longest: usize,
    /// See [`Patterns::idle_bytes`].
    idle: usize,
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patterns").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Drop for Patterns {
    fn drop(&mut self) {
        self.nodes.zeroize();
        self.first.zeroize();
    }
}

impl Patterns {
    /// All forms of these secrets. A secret that cannot be looked for is named by [`Patterns::unwatched`].
    pub fn new<'a, W: Into<Watched<'a>>>(secrets: impl IntoIterator<Item = W>) -> Self {
        let (mut names, mut unwatched, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        let (mut taken, mut shortest) = (0, usize::MAX);
        for secret in secrets {
            let Watched { name, plain, user } = secret.into();
            let bytes = |all: &[Spelling]| all.iter().map(|one| one.bytes.len()).sum::<usize>();
            let all = spellings(plain, user).and_then(|all| match taken + bytes(&all) {
                total if total > FORM_BYTES_MAX => Err(Reason::Full),
                total => {
                    taken = total;
                    Ok(all)
                }
            });
            match all {
                Ok(all) => {
                    let number = u32::try_from(names.len()).expect("each secret has some of FORM_BYTES_MAX");
                    names.push(name.to_owned());
                    shortest = shortest.min(plain.trim_ascii().len());
                    entries.extend(all.into_iter().map(|spelling| Entry { spelling, secret: number }));
                }
                Err(reason) => unwatched.push(Unwatched { name: name.to_owned(), reason }),
            }
        }
        Self::of(names, unwatched, entries, IDLE_BYTES_MAX.min(shortest / 2))
    }

    /// Secrets that are not looked for. Whoever lets one of them out has to say so or refuse.
    pub fn unwatched(&self) -> &[Unwatched] {
        &self.unwatched
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn of(names: Vec<String>, unwatched: Vec<Unwatched>, mut entries: Vec<Entry>, idle: usize) -> Self {
        // Stable: of equal spellings the first form has the name.
        entries.sort_by(|left, right| left.spelling.bytes.cmp(&right.spelling.bytes));
        entries.dedup_by(|later, earlier| later.spelling.bytes == earlier.spelling.bytes);
        let forms = entries.iter().map(|entry| &entry.spelling.bytes[..]);
        let (shortest, longest) =
            (forms.clone().map(<[u8]>::len).min().unwrap_or(0), forms.clone().map(<[u8]>::len).max().unwrap_or(0));
        let sieve = Sieve::new(forms, shortest);
        let found = entries.iter().map(|Entry { spelling, secret }| Found {
            bytes: spelling.bytes.len(),
            secret: *secret,
            form: spelling.form,
        });
        let found = found.collect();
        let mut nodes = trie(&entries);
        let mut first = Box::new([ROOT; 256]);
        let mut child = if nodes.len() > 1 { 1 } else { ROOT };
        while child != ROOT {
            let node = nodes[child as usize];
            first[usize::from(node.byte)] = child;
            child = node.sibling;
        }
        link(&mut nodes, &first);
        Self { names, unwatched, nodes, first, found, sieve, longest, idle }
    }

    pub(super) fn secrets(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, secret: u32) -> &str {
        self.names.get(secret as usize).map_or("", String::as_str)
    }

    pub(super) fn longest_bytes(&self) -> usize {
        self.longest
    }

    /// A prefix that is shorter than this may be given to an idle stream.
    pub(super) fn idle_bytes(&self) -> usize {
        self.idle
    }

    /// Length of the longest suffix of what was seen that is a proper prefix of a form.
    pub(super) fn open_bytes(&self, mut node: u32) -> usize {
        while node != ROOT && self.child(node).is_none() {
            node = self.nodes[node as usize].fail;
        }
        self.nodes[node as usize].depth as usize
    }

    /// Goes through a text from a node on, and says where it ends. At each place where a form ends, `take` gets the longest
    /// and the place behind it.
    pub(super) fn scan(&self, mut node: u32, text: &[u8], mut take: impl FnMut(Found, usize)) -> u32 {
        let mut at = 0;
        while at < text.len() {
            let Suspect { start, end } = match &self.sieve {
                Some(sieve) if node == ROOT => sieve.next(text, at),
                Some(_) | None => Suspect { start: at, end: at + 1 },
            };
            at = start;
            for byte in text.get(start..).unwrap_or_default() {
                if node == ROOT && at >= end {
                    break;
                }
                node = self.step(node, *byte);
                at += 1;
                let place = self.nodes[node as usize].found as usize;
                if let Some(found) = place.checked_sub(1).and_then(|place| self.found.get(place)) {
                    take(*found, at);
                }
            }
        }
        node
    }

    #[inline]
    fn step(&self, mut node: u32, byte: u8) -> u32 {
        loop {
            if node == ROOT {
                return self.first[usize::from(byte)];
            }
            let mut child = self.child(node);
            while let Some(place) = child {
                let one = &self.nodes[place as usize];
                if one.byte == byte {
                    return place;
                }
                child = Some(one.sibling).filter(|sibling| *sibling != ROOT);
            }
            node = self.nodes[node as usize].fail;
        }
    }

    /// The first child, which is the next node.
    #[inline]
    fn child(&self, node: u32) -> Option<u32> {
        child_of(&self.nodes, node)
    }
}

#[inline]
fn child_of(nodes: &[Node], node: u32) -> Option<u32> {
    let depth = nodes[node as usize].depth;
    nodes.get(node as usize + 1).filter(|next| next.depth == depth + 1).map(|_| node + 1)
}

/// The nodes of sorted, different forms: each node stands before its children, and its children before its siblings.
fn trie(entries: &[Entry]) -> Vec<Node> {
    let bytes: usize = entries.iter().map(|entry| entry.spelling.bytes.len()).sum();
    // Taken once: growing would leave a copy behind that nobody wipes.
    let mut nodes = Vec::with_capacity(bytes + 1);
    nodes.push(Node::default());
    // The nodes of the last form, by depth.
    let mut path = vec![ROOT];
    let mut before: &[u8] = &[];
    for (number, Entry { spelling, .. }) in (1..).zip(entries) {
        let form = &spelling.bytes[..];
        let common = form.iter().zip(before).take_while(|(one, other)| one == other).count();
        let mut elder = path.get(common + 1).copied();
        path.truncate(common + 1);
        for (depth, byte) in (1..).zip(form).skip(common) {
            let new = u32::try_from(nodes.len()).expect("there are at most FORM_BYTES_MAX");
            nodes.push(Node { byte: *byte, depth, ..Node::default() });
            if let Some(elder) = elder.take() {
                nodes[elder as usize].sibling = new;
            }
            path.push(new);
        }
        nodes.last_mut().expect("the root is there").found = number;
        before = form;
    }
    nodes
}

/// Links each node with its longest proper suffix, shorter prefixes first.
fn link(nodes: &mut [Node], first: &[u32; 256]) {
    let mut queue: VecDeque<u32> = first.iter().copied().filter(|child| *child != ROOT).collect();
    while let Some(parent) = queue.pop_front() {
        let Node { fail, found, .. } = nodes[parent as usize];
        if found == 0 {
            nodes[parent as usize].found = nodes[fail as usize].found;
        }
        let mut child = child_of(nodes, parent);
        while let Some(place) = child {
            let Node { byte, sibling, .. } = nodes[place as usize];
            nodes[place as usize].fail = suffix(nodes, first, fail, byte);
            queue.push_back(place);
            child = Some(sibling).filter(|sibling| *sibling != ROOT);
        }
    }
}

/// Where `byte` leads from a suffix.
fn suffix(nodes: &[Node], first: &[u32; 256], mut node: u32, byte: u8) -> u32 {
    loop {
        if node == ROOT {
            return first[usize::from(byte)];
        }
        let mut child = child_of(nodes, node);
        while let Some(place) = child {
            if nodes[place as usize].byte == byte {
                return place;
            }
            child = Some(nodes[place as usize].sibling).filter(|sibling| *sibling != ROOT);
        }
        node = nodes[node as usize].fail;
    }
}

#[cfg(test)]
impl Patterns {
    /// Forms as they are given, of any length, each a secret of its own: for tests of the algorithm.
    pub(super) fn of_forms(forms: &[&[u8]]) -> Self {
        let entry = |(number, form): (u32, &&[u8])| Entry {
            spelling: Spelling::new(Form::Raw, zeroize::Zeroizing::new(form.to_vec())),
            secret: number,
        };
        let names = (0..forms.len()).map(|number| number.to_string()).collect();
        Self::of(names, Vec::new(), (0..).zip(forms).map(entry).collect(), 4)
    }
}
