//! What judging returns: a permit, a question, or a denial that the model can learn from.
//! It never makes a permit by itself: only `judge` can call the constructor, and there is no other way to one.

use crate::call::Call;
use crate::diagnostic::Printable;
use crate::guard::Treatment;
use crate::limits::Limits;
use crate::name::{Flaw, NAME_BYTES_MAX, RuleId, plain};
use crate::path::AbsolutePath;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The answer to a call.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// It may run.
    Permit(Permit),
    /// A person must agree first.
    Ask(Ask),
    /// It may not run.
    Denial(Denial),
}

/// Proof that a call was judged and allowed. It cannot be copied, so one judgement lets one call run:
///
/// ```compile_fail,E0599
/// fn twice(permit: stockade_policy::Permit) { let _copy = permit.clone(); }
/// ```
///
/// nor made from its parts, even by someone who has parts of another one:
///
/// ```compile_fail,E0451
/// fn forge(call: stockade_policy::Call, grounds: stockade_policy::Grounds) -> stockade_policy::Permit {
///     stockade_policy::Permit { call, grounds }
/// }
/// ```
///
/// ```compile_fail,E0624
/// fn forge(call: stockade_policy::Call, grounds: stockade_policy::Grounds) -> stockade_policy::Permit {
///     stockade_policy::Permit::new(call, grounds)
/// }
/// ```
///
/// nor out of nothing:
///
/// ```compile_fail,E0277
/// fn wants_default<T: Default>() {}
/// wants_default::<stockade_policy::Permit>();
/// ```
#[derive(Debug)]
#[must_use = "a permit that nobody uses is a call that nobody runs"]
pub struct Permit {
    call: Call,
    grounds: Grounds,
}

impl Permit {
    pub(in crate::judge) const fn new(call: Call, grounds: Grounds) -> Self {
        Self { call, grounds }
    }

    /// The call that may run.
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// Why it may, and within what.
    pub const fn grounds(&self) -> &Grounds {
        &self.grounds
    }

    /// Gives the permit up for its parts, which are proof of nothing any more.
    pub fn into_parts(self) -> (Call, Grounds) {
        (self.call, self.grounds)
    }
}

/// Why a call may run, and within what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grounds {
    /// The rules that matched: the grants, then the ask rules to which somebody agreed.
    pub rules: Vec<RuleId>,
    /// Who agreed, where a rule asked.
    pub approved_by: Option<Approver>,
    /// The profile's limits, tightened by what the call asks for.
    pub limits: Limits,
    /// For a command its directory, for a read or write its path: absolute, but with symbolic links unresolved.
    pub place: Option<AbsolutePath>,
    /// For a write in the workspace: whether it is held for review.
    pub treatment: Treatment,
}

/// A question. Only agreeing to it makes an [`Approval`], so what is approved is the call that was shown:
///
/// ```compile_fail,E0451
/// fn forge(call: stockade_policy::Call, by: stockade_policy::Approver) -> stockade_policy::Approval {
///     stockade_policy::Approval { call, rules: Vec::new(), by }
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Ask {
    call: Call,
    rules: Vec<Asking>,
}

/// A rule that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// The rule.
    pub rule: RuleId,
    /// Its reason.
    pub reason: String,
}

impl Ask {
    pub(in crate::judge) const fn new(call: Call, rules: Vec<Asking>) -> Self {
        Self { call, rules }
    }

    /// The call in question.
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// The rules that ask; never empty.
    pub fn rules(&self) -> &[Asking] {
        &self.rules
    }

    /// Agrees. The answer is judged again, by the profile as it is then.
    pub fn approve(self, by: Approver) -> Approval {
        Approval { call: self.call, rules: self.rules.into_iter().map(|asking| asking.rule).collect(), by }
    }

    /// Refuses.
    pub fn refuse(self, by: &Approver) -> Denial {
        let (rule, reason) = match self.rules.into_iter().next() {
            Some(asking) => (Some(asking.rule), asking.reason),
            None => (None, String::new()),
        };
        let refusal = Refusal {
            rule,
            reason: alloc::format!("{by} was asked and refused: {reason}"),
            instead: Vec::new(),
            ask: "do not repeat the call; say what you need it for".into(),
        };
        Denial { call: self.call, refusal }
    }
}

/// Somebody's consent to one call and the rules that asked. It cannot be copied.
#[derive(Debug)]
#[must_use = "consent has no effect until it is judged"]
pub struct Approval {
    call: Call,
    rules: Vec<RuleId>,
    by: Approver,
}

impl Approval {
    pub(in crate::judge) fn into_parts(self) -> (Call, Vec<RuleId>, Approver) {
        (self.call, self.rules, self.by)
    }

    /// The call that was approved.
    pub const fn call(&self) -> &Call {
        &self.call
    }
}

/// Who agreed or refused, as the log shall name them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Approver(String);

impl Approver {
    /// # Errors
    /// Empty, too long, or with control characters.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        Ok(Self(plain(text, "approver", NAME_BYTES_MAX)?.into()))
    }
}

impl fmt::Display for Approver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A call that may not run, and why.
#[derive(Debug)]
pub struct Denial {
    call: Call,
    refusal: Refusal,
}

impl Denial {
    pub(in crate::judge) const fn new(call: Call, refusal: Refusal) -> Self {
        Self { call, refusal }
    }

    /// The call.
    pub const fn call(&self) -> &Call {
        &self.call
    }

    /// Why not.
    pub const fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// Both.
    pub fn into_parts(self) -> (Call, Refusal) {
        (self.call, self.refusal)
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

/// Why not, for the model: what it could do instead, never how to weaken anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that forbids it; `None` when it is merely not granted.
    pub rule: Option<RuleId>,
    /// Why.
    pub reason: String,
    /// What would be allowed, nearest first.
    pub instead: Vec<String>,
    /// Whom to ask, and for what.
    pub ask: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "denied: {}", Printable(&self.reason))?;
        if let Some(rule) = &self.rule {
            write!(f, "\nrule: {rule}")?;
        }
        for (n, instead) in self.instead.iter().enumerate() {
            write!(f, "{}{}", if n == 0 { "\nallowed instead: " } else { ", " }, Printable(instead))?;
        }
        write!(f, "\nto ask: {}", Printable(&self.ask))
    }
}
