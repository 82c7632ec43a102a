//! Filters: `k=fs.* path=src/** p=4 ev>=confirmed since=1.5s`, all of which must hold.
//! It never reads a log.

use super::glob::Glob;
use super::subject::{host_of, paths_of, process_of, program_of, tool_of};
use super::time::{Bound, bound};
use crate::record::{Evidence, Head, Leaf};
use crate::text::printable_bytes;
use std::fmt;

/// Every field, and what its terms look like: for help and hints.
pub const FIELDS: &str = "k=GLOB (kind), ev=LEVEL or ev>=LEVEL (evidence), tc=GLOB or call=GLOB, p=N (process), t=N (tool), path=GLOB, \
    exe=GLOB, host=GLOB, n=FROM..TO, since=TIME and until=TIME (1.5s, 200ms, 3m since the start, or 2026-01-31T12:00:00Z); \
    != for what must not be";

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// The part that is wrong.
    pub part: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is no term: {}", self.part, self.why)
    }
}

impl std::error::Error for FilterError {}

/// What a leaf must be like. Empty: anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    sense: Sense,
    about: About,
}

/// Whether a term says what must be, or what must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    Is,
    IsNot,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Kind(Glob),
    Evidence(Evidence),
    AtLeast(Evidence),
    Call(Glob),
    /// First number, and the first that is none of them.
    Numbers(u64, u64),
    Since(Bound),
    Until(Bound),
    Process(u64),
    Tool(u64),
    Path(Glob),
    Program(Glob),
    Host(Glob),
}

impl Filter {
    /// The filter in a text of terms, separated by spaces.
    ///
    /// # Errors
    /// When a part is no term.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Self::of_terms(text.split_ascii_whitespace())
    }

    /// The filter of these terms, each of which may have spaces.
    ///
    /// # Errors
    /// When one is no term.
    pub fn of_terms<T: AsRef<[u8]>>(terms: impl IntoIterator<Item = T>) -> Result<Self, FilterError> {
        let terms = terms.into_iter().map(|part| {
            let part = part.as_ref();
            term(part).map_err(|why| FilterError { part: printable_bytes(part), why })
        });
        Ok(Self { terms: terms.collect::<Result<_, _>>()? })
    }

    /// Whether the members that every leaf starts with let it through.
    pub(super) fn head(&self, head: &Head<'_>) -> bool {
        self.terms.iter().all(|term| term.about.holds_of_head(head).is_none_or(|holds| holds == term.sense.wanted()))
    }

    /// Whether the object of a leaf does.
    pub(super) fn body(&self, leaf: &Leaf) -> bool {
        self.terms.iter().all(|term| term.about.holds_of_body(leaf).is_none_or(|holds| holds == term.sense.wanted()))
    }

    /// A pattern that a path of each leaf matches, if it asks for one: the one that most is known of.
    pub(super) fn path(&self) -> Option<&Glob> {
        let paths = self.positive().filter_map(|about| if let About::Path(glob) = about { Some(glob) } else { None });
        paths.max_by_key(|glob| (glob.is_literal(), glob.literal_prefix().len()))
    }

    /// The process of each leaf, if it asks for one.
    pub(super) fn process(&self) -> Option<u64> {
        self.positive().find_map(|about| if let About::Process(p) = about { Some(*p) } else { None })
    }

    fn positive(&self) -> impl Iterator<Item = &About> {
        self.terms.iter().filter(|term| term.sense == Sense::Is).map(|term| &term.about)
    }
}

impl Sense {
    fn wanted(self) -> bool {
        self == Self::Is
    }
}

impl About {
    /// `None` where the head does not decide.
    fn holds_of_head(&self, head: &Head<'_>) -> Option<bool> {
        match self {
            Self::Kind(glob) => Some(glob.matches(head.kind.as_bytes())),
            Self::Evidence(level) => Some(head.evidence == *level),
            Self::AtLeast(level) => Some(head.evidence >= *level),
            Self::Call(glob) => Some(head.call.is_some_and(|call| glob.matches(call.as_bytes()))),
            Self::Numbers(from, to) => Some((*from..*to).contains(&head.n)),
            Self::Since(bound) => Some(!bound.is_after(head)),
            Self::Until(bound) => Some(bound.is_after(head)),
            Self::Process(_) | Self::Tool(_) | Self::Path(_) | Self::Program(_) | Self::Host(_) => None,
        }
    }

    /// `None` where the object does not decide.
    fn holds_of_body(&self, leaf: &Leaf) -> Option<bool> {
        match self {
            Self::Process(p) => Some(process_of(&leaf.body) == Some(*p)),
            Self::Tool(t) => Some(tool_of(&leaf.body) == Some(*t)),
            Self::Path(glob) => Some(paths_of(&leaf.body).any(|path| glob.matches(&path.0))),
            Self::Program(glob) => Some(program_of(&leaf.body).is_some_and(|exe| glob.matches(&exe.0))),
            Self::Host(glob) => Some(host_of(&leaf.body).is_some_and(|host| glob.matches(host.as_bytes()))),
            Self::Kind(_)
            | Self::Evidence(_)
            | Self::AtLeast(_)
            | Self::Call(_)
            | Self::Numbers(..)
            | Self::Since(_)
            | Self::Until(_) => None,
        }
    }
}

fn term(part: &[u8]) -> Result<Term, &'static str> {
    let at = part.iter().position(|byte| *byte == b'=').ok_or("there is no = in it")?;
    let (key, value) = part.split_at(at);
    let value = value.get(1..).unwrap_or_default();
    if let Some(key) = key.strip_suffix(b">") {
        return match key {
            b"ev" => Ok(Term { sense: Sense::Is, about: About::AtLeast(level(value)?) }),
            _ => Err("only ev has an order"),
        };
    }
    let (key, sense) = key.strip_suffix(b"!").map_or((key, Sense::Is), |key| (key, Sense::IsNot));
    let about = match key {
        b"k" => About::Kind(Glob::new(value)),
        b"ev" => About::Evidence(level(value)?),
        b"tc" | b"call" => About::Call(Glob::new(value)),
        b"n" => range(value).ok_or("write n=5, n=5.., n=..9 or n=5..9; the end is not included")?,
        b"since" => About::Since(time(value)?),
        b"until" => About::Until(time(value)?),
        b"p" => About::Process(number(value.strip_prefix(b"p").unwrap_or(value)).ok_or("write p=4")?),
        b"t" => About::Tool(number(value.strip_prefix(b"t").unwrap_or(value)).ok_or("write t=4")?),
        b"path" => About::Path(Glob::new(value)),
        b"exe" => About::Program(Glob::new(value)),
        b"host" => About::Host(Glob::new(value)),
        _ => return Err("there is no such field"),
    };
    Ok(Term { sense, about })
}

fn level(value: &[u8]) -> Result<Evidence, &'static str> {
    let word = std::str::from_utf8(value).ok().and_then(Evidence::parse);
    word.ok_or("the levels are claimed, observed, confirmed, performed, outcome")
}

fn time(value: &[u8]) -> Result<Bound, &'static str> {
    let wrong = "write a time since the start (1.5s, 200ms, 3m, 1h) or an instant (2026-01-31T12:00:00Z)";
    std::str::from_utf8(value).ok().and_then(bound).ok_or(wrong)
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// `5`, `5..`, `..9` or `5..9`; the end is not included.
fn range(value: &[u8]) -> Option<About> {
    let text = std::str::from_utf8(value).ok()?;
    let Some((from, to)) = text.split_once("..") else {
        let n = number(value)?;
        return Some(About::Numbers(n, n.saturating_add(1)));
    };
    let from = if from.is_empty() { 0 } else { from.parse().ok()? };
    let to = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
    Some(About::Numbers(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{FsOpen, ProcExit, parse_head};

    fn lets_through(terms: &[&str], leaf: &Leaf, bytes: &[u8]) -> bool {
        let filter = Filter::of_terms(terms).unwrap_or_else(|error| unreachable!("{error}"));
        filter.head(&parse_head(bytes).expect("a leaf")) && filter.body(leaf)
    }

    #[test]
    fn every_field_of_a_record_can_be_asked_for() {
        let text = r#"{"v":1,"n":31,"t":1700000000500000000,"mt":500000000,"k":"fs.open","ev":"performed","tc":"tc_1","o":{"p":4,"path":"src/a b.rs","fl":"W"}}"#;
        let leaf = crate::record::parse_leaf(text.as_bytes()).expect("a leaf");
        assert!(matches!(&leaf.body, crate::record::Body::FsOpen(FsOpen { p: 4, .. })));
        let yes = [
            "k=fs.*",
            "k=fs.open",
            "k!=net.*",
            "ev=performed",
            "ev>=confirmed",
            "ev!=observed",
            "tc=tc_1",
            "call=tc_*",
            "p=4",
            "p=p4",
            "p!=5",
            "path=src/a b.rs",
            "path=**/*.rs",
            "path!=src/b.rs",
            "exe!=/usr/**",
            "host!=*",
            "n=31",
            "n=..32",
            "n=31..",
            "since=500ms",
            "since=0.5s",
            "until=0.6s",
            "until=1m",
            "since=2023-11-14T22:13:20Z",
            "until=2023-11-14T22:13:21Z",
        ];
        let no = [
            "k=fs",
            "k!=fs.*",
            "ev=outcome",
            "ev>=outcome",
            "tc=tc_2",
            "p=5",
            "path=src/*.py",
            "exe=**",
            "host=**",
            "n=30",
            "n=32..",
            "since=501ms",
            "until=500ms",
            "since=2023-11-14T22:13:21Z",
        ];
        for term in yes {
            assert!(lets_through(&[term], &leaf, text.as_bytes()), "{term}");
        }
        for term in no {
            assert!(!lets_through(&[term], &leaf, text.as_bytes()), "{term}");
        }
        assert!(lets_through(&yes, &leaf, text.as_bytes()));
        assert!(!lets_through(&["k=fs.*", "k=fs.open", "k=call"], &leaf, text.as_bytes()), "each of several must hold");
    }

    #[test]
    fn what_is_no_term_says_what_would_be_one() {
        for (part, why) in [
            ("colour=red", "no such field"),
            ("k", "no = in it"),
            ("ev=sure", "levels"),
            ("k>=fs", "only ev"),
            ("n=a", "n=5"),
            ("p=-1", "p=4"),
            ("since=soon", "1.5s"),
            ("until=2026-13-01T00:00:00Z", "1.5s"),
            ("\u{1b}[31m=", "no such field"),
        ] {
            let error = Filter::of_terms([part]).expect_err(part);
            assert!(error.to_string().contains(why), "{error}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
    }

    #[test]
    fn the_path_that_most_is_known_of_leads_to_the_index() {
        let filter = Filter::parse("path=** path=src/*.rs path!=src/a.rs").expect("filter");
        assert_eq!(filter.path(), Some(&Glob::new("src/*.rs")));
        assert_eq!(Filter::parse("path!=src/a.rs p!=4").expect("filter").path(), None);
        let exit = ProcExit {
            p: 1,
            pp: None,
            pid: 1,
            exe: None,
            failed: None,
            cause: crate::record::Cause::Exit,
            status: 0,
            cpu_us: None,
            rss_kib: None,
        };
        assert_eq!(process_of(&exit.into()), Some(1));
    }
}
