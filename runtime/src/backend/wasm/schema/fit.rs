//! Whether a value fits a compiled schema, and what about it does not.
//! It never takes more steps than it has, nor goes deeper than it may; what it says is bounded, whatever the value is.

use super::compile::escaped;
use super::numbers::{compared, is_multiple, is_whole};
use super::pattern::Pattern;
use super::rules::{Index, Members, Node, OfArray, OfNumber, OfObject, OfText, Range, Rule, Rules, TYPES, Together};
use super::words::{POINTER_BYTES_MAX, Quoting, article, clip, list, said};
use serde_json::{Map, Number, Value};
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Steps of one check: some tenths of a second, and a second where all of them go into the largest patterns.
const STEPS_MAX: u64 = 4_000_000;
/// What a check takes at most, on a machine that is slow or has much else to do.
const WALL_MAX: Duration = Duration::from_secs(5);
/// The clock is looked at once in so many steps.
const CLOCK_STEPS: u64 = 16 * 1024;
/// Bytes that are compared, or counted, in a step.
const STEP_BYTES: u64 = 64;
/// Schemas within each other.
const DEPTH_MAX: usize = 512;

/// What stops a check.
enum Stop {
    /// Something does not fit; in words, where anybody wants to hear them.
    Misfit(Option<String>),
    /// It would take too long, or too deep.
    TooMuch,
}

type Checked = Result<(), Stop>;

/// What is held against a schema.
#[derive(Clone, Copy)]
enum Held<'a> {
    /// The value, or a part of it.
    Value(&'a Value),
    /// The name of a member: a text like any other, and never copied to become a value, since it may be long.
    Name(&'a str),
}

impl<'a> Held<'a> {
    fn text(self) -> Option<&'a str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Value(value) => value.as_str(),
        }
    }

    fn shown(self, quoting: Quoting<'_>) -> String {
        match self {
            Self::Value(value) => quoting.value(value),
            Self::Name(name) => quoting.text(name),
        }
    }

    fn members(self) -> Option<&'a Map<String, Value>> {
        match self {
            Self::Value(value) => value.as_object(),
            Self::Name(_) => None,
        }
    }
}

/// Where in the value we are.
#[derive(Clone, Copy)]
enum Step<'a> {
    Member(&'a str),
    Item(usize),
}

struct Check<'a> {
    rules: &'a Rules,
    whole: &'a str,
    quoting: Quoting<'a>,
    steps: u64,
    until: Instant,
    depth: usize,
    /// Somebody only asks whether: nobody reads the words.
    quiet: usize,
    at: Vec<Step<'a>>,
}

/// Holds a value against a schema.
pub(super) fn fits(rules: &Rules, value: &Value, whole: &str, quoting: Quoting<'_>) -> Result<(), String> {
    fits_until(Instant::now() + WALL_MAX, rules, value, whole, quoting)
}

pub(super) fn fits_until(
    until: Instant,
    rules: &Rules,
    value: &Value,
    whole: &str,
    quoting: Quoting<'_>,
) -> Result<(), String> {
    let mut check = Check { rules, whole, quoting, steps: STEPS_MAX, until, depth: 0, quiet: 0, at: Vec::new() };
    match check.node(0, Held::Value(value)) {
        Ok(()) => Ok(()),
        Err(Stop::Misfit(what)) => Err(what.unwrap_or_else(|| format!("{whole} does not fit the schema"))),
        Err(Stop::TooMuch) => Err(format!("{whole} is too much to be held against the schema")),
    }
}

impl<'a> Check<'a> {
    fn node(&mut self, index: Index, held: Held<'a>) -> Checked {
        self.pay(1)?;
        if self.depth == DEPTH_MAX {
            return Err(Stop::TooMuch);
        }
        let rules = self.rules;
        match rules.node(index) {
            Node::Always => Ok(()),
            Node::Never => self.misfit(|_| "cannot be there".to_owned()),
            Node::Rules(all) => {
                self.depth += 1;
                let checked = all.iter().try_for_each(|rule| self.rule(rule, held));
                self.depth -= 1;
                checked
            }
        }
    }

    fn pay(&mut self, steps: u64) -> Checked {
        let left = self.steps.checked_sub(steps).ok_or(Stop::TooMuch)?;
        let is_time = left / CLOCK_STEPS != self.steps / CLOCK_STEPS;
        self.steps = left;
        if is_time && Instant::now() >= self.until { Err(Stop::TooMuch) } else { Ok(()) }
    }

    /// Pays for a name that is looked up among so many, each of which may begin as it does.
    fn pay_look_up(&mut self, name: &str, among: usize) -> Checked {
        let compared = u64::from(among.checked_ilog2().unwrap_or(0)) + 1;
        self.pay((long(name) / STEP_BYTES).saturating_mul(compared).saturating_add(1))
    }

    fn rule(&mut self, rule: &'a Rule, held: Held<'a>) -> Checked {
        match rule {
            Rule::Type(bits) => self.kind(*bits, held),
            Rule::Enum(values) => self.one_of(values, held),
            Rule::Number(rule) => match held {
                Held::Value(Value::Number(number)) => self.number(rule, number),
                Held::Value(_) | Held::Name(_) => Ok(()),
            },
            Rule::Text(rule) => held.text().map_or(Ok(()), |text| self.text(rule, text)),
            Rule::Array(rule) => match held {
                Held::Value(Value::Array(items)) => self.items(rule, items),
                Held::Value(_) | Held::Name(_) => Ok(()),
            },
            Rule::Object(rule) => held.members().map_or(Ok(()), |members| self.members(rule, members, held)),
            Rule::Together(rule) => self.together(rule, held),
        }
    }

    fn kind(&mut self, bits: u8, held: Held<'a>) -> Checked {
        let (kind, whole_number) = match held {
            Held::Value(Value::Null) => (0, false),
            Held::Value(Value::Bool(_)) => (1, false),
            Held::Value(Value::Number(number)) => (3, is_whole(number)),
            Held::Value(Value::String(_)) | Held::Name(_) => (4, false),
            Held::Value(Value::Array(_)) => (5, false),
            Held::Value(Value::Object(_)) => (6, false),
        };
        if bits & (1 << kind) != 0 || whole_number && bits & (1 << 2) != 0 {
            return Ok(());
        }
        self.misfit(|quoting| {
            let wanted = TYPES.iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0).map(|(_, word)| article(word));
            format!("is {}, and has to be {}", held.shown(quoting), wanted.collect::<Vec<_>>().join(" or "))
        })
    }

    fn one_of(&mut self, values: &[Value], held: Held<'a>) -> Checked {
        for wanted in values {
            self.pay(1)?;
            let is_it = match (held, wanted) {
                (Held::Value(value), wanted) => self.equal(wanted, value)?,
                (Held::Name(name), Value::String(wanted)) => self.equal_texts(wanted, name)?,
                (Held::Name(_), _) => false,
            };
            if is_it {
                return Ok(());
            }
        }
        self.misfit(|quoting| {
            let values = values.iter().map(|value| value.to_string());
            format!("is {}, and has to be one of: {}", held.shown(quoting), list(values))
        })
    }

    fn number(&mut self, rule: &OfNumber, number: &Number) -> Checked {
        let (is_fine, wanted, bound) = match rule {
            OfNumber::Least(least) => (compared(number, least) != Ordering::Less, "at least", least),
            OfNumber::Above(least) => (compared(number, least) == Ordering::Greater, "above", least),
            OfNumber::Most(most) => (compared(number, most) != Ordering::Greater, "at most", most),
            OfNumber::Below(most) => (compared(number, most) == Ordering::Less, "below", most),
            OfNumber::MultipleOf(of) => (is_multiple(number, of), "a multiple of", of),
        };
        if is_fine { Ok(()) } else { self.misfit(|_| format!("is {number}, and has to be {wanted} {bound}")) }
    }

    fn text(&mut self, rule: &OfText, text: &str) -> Checked {
        match rule {
            OfText::Length(range) => {
                self.pay(long(text) / STEP_BYTES)?;
                let count = text.chars().count();
                self.counted(*range, count, "characters")
            }
            OfText::Pattern(pattern) => {
                if self.matches(pattern, text)? {
                    return Ok(());
                }
                self.misfit(|quoting| {
                    format!("is {}, and has to match the pattern {:?}", quoting.text(text), pattern.text)
                })
            }
        }
    }

    fn matches(&mut self, pattern: &Pattern, text: &str) -> Result<bool, Stop> {
        self.pay(long(text).saturating_add(1).saturating_mul(pattern.weight))?;
        Ok(pattern.matches(text))
    }

    fn items(&mut self, rule: &'a OfArray, items: &'a [Value]) -> Checked {
        match rule {
            OfArray::Items(first, rest) => {
                for (n, item) in items.iter().enumerate() {
                    let Some(index) = first.get(n).copied().or(*rest) else { break };
                    self.inside(Step::Item(n), |check| check.node(index, Held::Value(item)))?;
                }
                Ok(())
            }
            OfArray::Contains(index, range) => {
                let mut count = 0_u64;
                for item in items {
                    count += u64::from(self.quietly(*index, Held::Value(item))?);
                }
                if range.least <= count && count <= range.most {
                    return Ok(());
                }
                self.misfit(|_| format!("has {count} items of the kind that it has to have {}", said(*range)))
            }
            OfArray::Count(range) => self.counted(*range, items.len(), "items"),
            OfArray::Unique => {
                for (n, item) in items.iter().enumerate() {
                    for (earlier, other) in items.iter().enumerate().take(n) {
                        if self.equal(item, other)? {
                            return self.misfit(|_| {
                                format!("has the same at {earlier} and at {n}, and each has to be another")
                            });
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn members(&mut self, rule: &'a OfObject, members: &'a Map<String, Value>, held: Held<'a>) -> Checked {
        match rule {
            OfObject::Members(asked) => members.iter().try_for_each(|(name, member)| {
                self.inside(Step::Member(name), |check| check.member(asked, name, Held::Value(member)))
            }),
            OfObject::Names(index) => {
                for name in members.keys() {
                    if !self.quietly(*index, Held::Name(name))? {
                        return self
                            .misfit(|quoting| format!("has a member {}, whose name cannot be", quoting.text(name)));
                    }
                }
                Ok(())
            }
            OfObject::Count(range) => self.counted(*range, members.len(), "members"),
            OfObject::Required(names) => {
                names.iter().try_for_each(|name| self.there(members, name, |name| format!("{name} is missing")))
            }
            OfObject::RequiredWith(first, names) => {
                if !self.is_there(members, first)? {
                    return Ok(());
                }
                let quoting = self.quoting;
                names.iter().try_for_each(|name| {
                    let goes_with = |name: &str| format!("{name} is missing, which goes with {}", quoting.text(first));
                    self.there(members, name, goes_with)
                })
            }
            OfObject::With(first, index) => {
                if self.is_there(members, first)? {
                    self.node(*index, held)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// One member by everything that is about it.
    fn member(&mut self, asked: &'a Members, name: &str, member: Held<'a>) -> Checked {
        self.pay_look_up(name, asked.named.len())?;
        let mut is_known = false;
        if let Some(index) = asked.named.get(name) {
            is_known = true;
            self.node(*index, member)?;
        }
        for (pattern, index) in &asked.patterns {
            if self.matches(pattern, name)? {
                is_known = true;
                self.node(*index, member)?;
            }
        }
        let Some(others) = asked.others.filter(|_| !is_known) else { return Ok(()) };
        match self.rules.node(others) {
            Node::Never => self.misfit(|_| match asked.named.is_empty() {
                true => "is not known, and no member is".to_owned(),
                false => format!("is not known: there are {}", list(asked.named.keys().cloned())),
            }),
            Node::Always => Ok(()),
            Node::Rules(_) => self.node(others, member),
        }
    }

    fn is_there(&mut self, members: &Map<String, Value>, name: &str) -> Result<bool, Stop> {
        self.pay_look_up(name, members.len())?;
        Ok(members.contains_key(name))
    }

    fn there(&mut self, members: &Map<String, Value>, name: &'a str, says: impl FnOnce(&str) -> String) -> Checked {
        if self.is_there(members, name)? {
            return Ok(());
        }
        if self.quiet > 0 {
            return Err(Stop::Misfit(None));
        }
        self.at.push(Step::Member(name));
        let pointer = self.pointer();
        self.at.pop();
        Err(Stop::Misfit(Some(says(&pointer))))
    }

    fn together(&mut self, rule: &'a Together, held: Held<'a>) -> Checked {
        match rule {
            Together::All(all) => all.iter().try_for_each(|index| self.node(*index, held)),
            Together::Any(any) => self.some(any, held),
            Together::One(one) => {
                let mut fitting = Vec::new();
                for (n, index) in one.iter().enumerate() {
                    if self.quietly(*index, held)? {
                        fitting.push(n);
                    }
                }
                match fitting.as_slice() {
                    [_] => Ok(()),
                    [] => self.some(one, held),
                    [first, second, ..] => self.misfit(|quoting| {
                        format!(
                            "is {}, which fits the kinds {first} and {second} of {} that exclude each other",
                            held.shown(quoting),
                            one.len()
                        )
                    }),
                }
            }
            Together::Not(index) => {
                if !self.quietly(*index, held)? {
                    return Ok(());
                }
                self.misfit(|quoting| format!("is {}, which is ruled out", held.shown(quoting)))
            }
            Together::If(whether, then, otherwise) => {
                let then = if self.quietly(*whether, held)? { then } else { otherwise };
                then.map_or(Ok(()), |index| self.node(index, held))
            }
        }
    }

    /// At least one of some kinds. Where there is but one kind that could be meant, what is wrong is said of that.
    fn some(&mut self, kinds: &[Index], held: Held<'a>) -> Checked {
        for index in kinds {
            if self.quietly(*index, held)? {
                return Ok(());
            }
        }
        if let [only] = kinds {
            return self.node(*only, held);
        }
        self.misfit(|quoting| {
            format!("is {}, which fits none of the {} kinds that it can be of", held.shown(quoting), kinds.len())
        })
    }

    fn quietly(&mut self, index: Index, held: Held<'a>) -> Result<bool, Stop> {
        self.quiet += 1;
        let checked = self.node(index, held);
        self.quiet -= 1;
        match checked {
            Ok(()) => Ok(true),
            Err(Stop::Misfit(_)) => Ok(false),
            Err(Stop::TooMuch) => Err(Stop::TooMuch),
        }
    }

    fn inside(&mut self, step: Step<'a>, check: impl FnOnce(&mut Self) -> Checked) -> Checked {
        self.at.push(step);
        let checked = check(self);
        self.at.pop();
        checked
    }

    fn counted(&mut self, range: Range, count: usize, what: &str) -> Checked {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        if range.least <= count && count <= range.most {
            return Ok(());
        }
        self.misfit(|_| format!("has {count} {what}, and has to have {}", said(range)))
    }

    /// Whether two values are the same, each of their parts a step.
    fn equal(&mut self, one: &Value, other: &Value) -> Result<bool, Stop> {
        self.pay(1)?;
        Ok(match (one, other) {
            (Value::Number(one), Value::Number(other)) => compared(one, other) == Ordering::Equal,
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
                for (one, other) in one.iter().zip(other) {
                    if !self.equal(one, other)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Object(one), Value::Object(others)) if one.len() == others.len() => {
                for (name, one) in one {
                    self.pay_look_up(name, others.len())?;
                    let Some(other) = others.get(name) else { return Ok(false) };
                    if !self.equal(one, other)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::String(one), Value::String(other)) => self.equal_texts(one, other)?,
            (Value::Null, Value::Null) => true,
            (Value::Bool(one), Value::Bool(other)) => one == other,
            _ => false,
        })
    }

    fn equal_texts(&mut self, one: &str, other: &str) -> Result<bool, Stop> {
        if one.len() != other.len() {
            return Ok(false);
        }
        self.pay(long(one) / STEP_BYTES)?;
        Ok(one == other)
    }

    fn misfit(&self, what: impl FnOnce(Quoting<'a>) -> String) -> Checked {
        let said = (self.quiet == 0).then(|| {
            let place = if self.at.is_empty() { self.whole.to_owned() } else { self.pointer() };
            format!("{place} {}", what(self.quoting))
        });
        Err(Stop::Misfit(said))
    }

    /// Where we are, as a JSON pointer in quotes.
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in &self.at {
            match step {
                Step::Member(name) => {
                    write!(pointer, "/{}", escaped(clip(&self.quoting.clean(name), POINTER_BYTES_MAX)))
                }
                Step::Item(n) => write!(pointer, "/{n}"),
            }
            .expect("writing to a String cannot fail");
            if pointer.len() > POINTER_BYTES_MAX {
                break;
            }
        }
        let short = clip(&pointer, POINTER_BYTES_MAX);
        let more = if short.len() < pointer.len() { "…" } else { "" };
        Value::String(format!("{short}{more}")).to_string()
    }
}

fn long(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}
