//! What changes between two profiles, and in which direction.
//! It never weighs rules against each other: a grant that another one already covers still counts as wider.

use crate::backend::Asked;
use crate::canonical;
use crate::diagnostic::Printable;
use crate::limits::Limit;
use crate::name::RuleId;
use crate::path::RulePath;
use crate::profile::Profile;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

/// Which way a difference goes. The order is by how much it matters to a reviewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// More is allowed.
    Wider,
    /// Less is allowed.
    Tighter,
    /// The same is allowed, for another reason; or neither more nor less, of something else.
    Changed,
}

impl Direction {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wider => "wider",
            Self::Tighter => "tighter",
            Self::Changed => "changed",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which way.
    pub direction: Direction,
    /// What was there; `None` when it is new.
    pub before: Option<String>,
    /// What is there now; `None` when it is gone.
    pub after: Option<String>,
    /// The rule, of the new profile where there is one.
    pub rule: Option<RuleId>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.direction.as_str())?;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{} -> {}", Printable(before), Printable(after))?,
            (None, Some(after)) => write!(f, "+ {}", Printable(after))?,
            (Some(before), None) => write!(f, "- {}", Printable(before))?,
            (None, None) => {}
        }
        match &self.rule {
            Some(rule) => write!(f, " ({rule})"),
            None => Ok(()),
        }
    }
}

/// A statement of a profile, as it is compared and shown.
struct Statement<'a> {
    key: canonical::Line,
    shown: String,
    reason: &'a str,
    rule: &'a RuleId,
}

/// Every difference from `before` to `after`, the wider ones first.
pub fn diff<P: RulePath>(before: &Profile<P>, after: &Profile<P>) -> Vec<Difference> {
    let mut out = Vec::new();
    // A new grant is wider, a new restriction tighter.
    compare(grants(before), grants(after), Direction::Wider, Direction::Tighter, &mut out);
    compare(restrictions(before), restrictions(after), Direction::Tighter, Direction::Wider, &mut out);
    for limit in Limit::ALL {
        let (old, new) = (before.limits.get(limit), after.limits.get(limit));
        // No limit is more than any.
        let order = new.unwrap_or(u64::MAX).cmp(&old.unwrap_or(u64::MAX));
        let shown = |value: Option<u64>| value.map(|value| format!("{limit} = {value}"));
        ordered(order, shown(old), shown(new), after.limit_rule(limit).cloned(), &mut out);
    }
    stricter("floor", before.floor, after.floor, &mut out);
    stricter("durability", before.durability, after.durability, &mut out);
    stricter("record", before.recording, after.recording, &mut out);
    stricter("record_floor", before.record_floor, after.record_floor, &mut out);
    walls(&before.wall, &after.wall, &mut out);
    out.sort_by_key(|difference| difference.direction);
    out
}

/// A value of which the greater is the stricter.
fn stricter<T: Ord + fmt::Display>(key: &str, before: T, after: T, out: &mut Vec<Difference>) {
    let shown = |value: &T| Some(format!("{key} = \"{value}\""));
    ordered(before.cmp(&after), shown(&before), shown(&after), None, out);
}

/// Of two backends the container allows less; of two images, or runtimes, none does.
fn walls(before: &Asked, after: &Asked, out: &mut Vec<Difference>) {
    let backend = |wall: &Asked| Some(format!("backend = \"{}\"", wall.name().as_str()));
    ordered(before.name().cmp(&after.name()), backend(before), backend(after), None, out);
    let image = |wall: &Asked| wall.image().map(|image| format!("image = \"{}\"", image.value));
    let runtime = |wall: &Asked| wall.runtime().map(|runtime| format!("runtime = \"{}\"", runtime.value));
    for (before, after) in [(image(before), image(after)), (runtime(before), runtime(after))] {
        if before != after {
            out.push(Difference { direction: Direction::Changed, before, after, rule: None });
        }
    }
}

/// `order` is `Greater` when the new value allows more.
fn ordered(
    order: Ordering,
    before: Option<String>,
    after: Option<String>,
    rule: Option<RuleId>,
    out: &mut Vec<Difference>,
) {
    let direction = match order {
        Ordering::Equal => return,
        Ordering::Greater => Direction::Wider,
        Ordering::Less => Direction::Tighter,
    };
    out.push(Difference { direction, before, after, rule });
}

fn grants<P: RulePath>(profile: &Profile<P>) -> Vec<Statement<'_>> {
    let rules = profile.grants.iter().map(|rule| Statement {
        key: canonical::grant(&rule.subject),
        shown: format!("grant {}", rule.subject),
        reason: rule.reason.as_str(),
        rule: &rule.id,
    });
    let secrets = profile.secrets.iter().map(|rule| Statement {
        key: canonical::secret(&rule.subject),
        shown: rule.subject.to_string(),
        reason: rule.reason.as_str(),
        rule: &rule.id,
    });
    let components = profile.components.iter().map(|rule| Statement {
        key: canonical::component(&rule.subject),
        shown: rule.subject.to_string(),
        reason: rule.reason.as_str(),
        rule: &rule.id,
    });
    rules.chain(secrets).chain(components).collect()
}

fn restrictions<P: RulePath>(profile: &Profile<P>) -> Vec<Statement<'_>> {
    let rules = profile.restrictions.iter().map(|rule| Statement {
        key: canonical::matter(rule.subject.verb.as_str(), &rule.subject.matter),
        shown: rule.subject.to_string(),
        reason: rule.reason.as_str(),
        rule: &rule.id,
    });
    let guards = [("protect", &profile.protect), ("hold", &profile.hold)];
    let guards = guards.into_iter().flat_map(|(kind, guards)| {
        guards.iter().map(move |guard| Statement {
            key: canonical::guard(kind, guard),
            shown: format!("{kind} {guard}"),
            reason: "",
            rule: &guard.id,
        })
    });
    rules.chain(guards).collect()
}

fn compare(
    before: Vec<Statement<'_>>,
    after: Vec<Statement<'_>>,
    added: Direction,
    removed: Direction,
    out: &mut Vec<Difference>,
) {
    for old in &before {
        // The same may stand there twice, by two reasons: of a profile and of one that it extends.
        let with_its_reason = |new: &&Statement<'_>| new.key == old.key && new.reason == old.reason;
        let found = after.iter().find(with_its_reason).or_else(|| after.iter().find(|new| new.key == old.key));
        match found {
            None => out.push(Difference {
                direction: removed,
                before: Some(old.shown.clone()),
                after: None,
                rule: Some(old.rule.clone()),
            }),
            Some(new) if new.reason != old.reason => out.push(Difference {
                direction: Direction::Changed,
                before: Some(format!("{}: {}", old.shown, old.reason)),
                after: Some(format!("{}: {}", new.shown, new.reason)),
                rule: Some(new.rule.clone()),
            }),
            Some(_) => {}
        }
    }
    for new in &after {
        if !before.iter().any(|old| old.key == new.key) {
            out.push(Difference {
                direction: added,
                before: None,
                after: Some(new.shown.clone()),
                rule: Some(new.rule.clone()),
            });
        }
    }
}
