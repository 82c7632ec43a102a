//! A schema as a list of nodes: every keyword read, every reference resolved, nothing left to be looked up.
//! It never takes a keyword that it does not keep, unless that one only describes; and never follows a name out of the schema.

use super::pattern::Pattern;
use super::rules::{Index, Members, Node, OfArray, OfNumber, OfObject, OfText, Range, Rule, Rules, TYPES, Together};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::rc::Rc;

/// Nodes of a schema at most; a manifest of 64 KiB has room for no more that mean anything.
const NODES_MAX: usize = 8192;
/// Bytes of the JSON pointers of all of them: each has the names of those around it in it once more.
const PLACES_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Patterns of a schema at most.
const PATTERNS_MAX: usize = 64;
/// What is shown of a place in a schema, bytes.
const PLACE_BYTES_MAX: usize = 200;
/// Dialects whose keywords are kept: what each names alike means the same but for `$ref`, see `keywords`.
const DIALECTS: [&str; 3] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
];
/// The one in which a reference is alone.
const DRAFT_7: &str = "http://json-schema.org/draft-07/schema";
/// Keywords that change what a text has to be, and that are not kept.
const NOT_KEPT: [&str; 5] =
    ["$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems", "$dynamicAnchor"];

impl Rules {
    /// Compiles a schema.
    pub(super) fn of(root: &Value) -> Result<Self, String> {
        let dialect = root.get("$schema").map_or(Ok(""), |dialect| dialect.as_str().ok_or("\"$schema\" is no text"))?;
        let dialect = dialect.trim_end_matches('#');
        if !dialect.is_empty() && !DIALECTS.contains(&dialect) {
            return Err(format!("\"$schema\" is {:?}, and may be one of: {}", clipped(dialect), DIALECTS.join(", ")));
        }
        let mut compiler = Compiler {
            root,
            ref_is_alone: dialect == DRAFT_7,
            nodes: Vec::new(),
            places: HashMap::new(),
            places_bytes: 0,
            waiting: Vec::new(),
            patterns: 0,
        };
        compiler.at("")?;
        // One after the other, and not one within the other: a chain of references may be long.
        while let Some((index, place)) = compiler.waiting.pop() {
            let node =
                compiler.node(&place).map_err(|what| format!("at {:?}: {what}", format!("#{}", clipped(&place))))?;
            if let Some(slot) = compiler.nodes.get_mut(index) {
                *slot = node;
            }
        }
        let rules = Self::new(compiler.nodes);
        if rules.turns_in_place() {
            return Err("a \"$ref\" leads back to itself before it reaches a member".to_owned());
        }
        Ok(rules)
    }
}

struct Compiler<'a> {
    root: &'a Value,
    ref_is_alone: bool,
    nodes: Vec<Node>,
    /// By JSON pointer.
    places: HashMap<Rc<str>, Index>,
    places_bytes: usize,
    waiting: Vec<(Index, Rc<str>)>,
    patterns: usize,
}

impl<'a> Compiler<'a> {
    /// The node of the schema at a pointer, compiled later.
    fn at(&mut self, place: &str) -> Result<Index, String> {
        if let Some(index) = self.places.get(place) {
            return Ok(*index);
        }
        let index = self.nodes.len();
        if index == NODES_MAX {
            return Err(format!("it has more than {NODES_MAX} schemas in it"));
        }
        self.places_bytes = self.places_bytes.saturating_add(place.len());
        if self.places_bytes > PLACES_BYTES_MAX {
            return Err(format!(
                "the places of its schemas have more than {PLACES_BYTES_MAX} bytes: its names are too long"
            ));
        }
        let place: Rc<str> = place.into();
        self.nodes.push(Node::Always);
        self.places.insert(Rc::clone(&place), index);
        self.waiting.push((index, place));
        Ok(index)
    }

    fn node(&mut self, place: &str) -> Result<Node, String> {
        let members = match self.root.pointer(place) {
            Some(Value::Bool(true)) => return Ok(Node::Always),
            Some(Value::Bool(false)) => return Ok(Node::Never),
            Some(Value::Object(members)) => members,
            Some(_) => return Err("a schema is an object, true or false".to_owned()),
            None => return Err("there is no such place".to_owned()),
        };
        if let Some(keyword) = NOT_KEPT.iter().find(|keyword| members.contains_key(**keyword)) {
            return Err(format!(
                "\"{keyword}\" is not kept here: say it with \"$ref\", \"items\" and \"additionalProperties\""
            ));
        }
        if !place.is_empty() && members.contains_key("$id") {
            return Err("\"$id\" is for the whole schema alone".to_owned());
        }
        let mut keywords = Keywords { compiler: self, members, place };
        keywords.rules().map(Node::Rules)
    }
}

/// The keywords of one schema.
struct Keywords<'c, 'a> {
    compiler: &'c mut Compiler<'a>,
    members: &'a Map<String, Value>,
    place: &'c str,
}

impl<'a> Keywords<'_, 'a> {
    fn rules(&mut self) -> Result<Vec<Rule>, String> {
        let mut rules = Vec::new();
        // What is only kept to be referred to has to be sound as well.
        for keyword in ["$defs", "definitions"] {
            self.named(keyword)?;
        }
        if let Some(target) = self.reference()? {
            rules.push(Rule::Together(Together::All(vec![target])));
            if self.compiler.ref_is_alone {
                return Ok(rules);
            }
        }
        self.values(&mut rules)?;
        self.numbers(&mut rules)?;
        self.texts(&mut rules)?;
        self.arrays(&mut rules)?;
        self.objects(&mut rules)?;
        self.together(&mut rules)?;
        Ok(rules)
    }

    fn reference(&mut self) -> Result<Option<Index>, String> {
        let Some(target) = self.members.get("$ref") else { return Ok(None) };
        let target = target.as_str().ok_or("\"$ref\" is no text")?;
        let pointer = target.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let pointer = pointer.ok_or_else(|| {
            format!("\"$ref\" is {:?}, and may only lead to a place in the same schema: \"#/…\"", clipped(target))
        })?;
        let place = percent_decoded(pointer).ok_or("\"$ref\" has a broken %")?;
        if self.compiler.root.pointer(&place).is_none() {
            return Err(format!("\"$ref\" is {:?}, and there is nothing there", clipped(target)));
        }
        self.compiler.at(&place).map(Some)
    }

    fn values(&mut self, rules: &mut Vec<Rule>) -> Result<(), String> {
        if let Some(value) = self.members.get("type") {
            let bit = |value: &Value| {
                let place = value.as_str().and_then(|word| TYPES.iter().position(|known| *known == word));
                place.map(|place| 1_u8 << place).ok_or_else(|| format!("\"type\" is one of: {}", TYPES.join(", ")))
            };
            let types = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            let bits = types.iter().try_fold(0, |all, one| Ok::<u8, String>(all | bit(one)?))?;
            rules.push(Rule::Type(bits));
        }
        match self.members.get("enum") {
            Some(Value::Array(values)) => rules.push(Rule::Enum(values.clone())),
            Some(_) => return Err("\"enum\" is no array".to_owned()),
            None => {}
        }
        rules.extend(self.members.get("const").map(|value| Rule::Enum(vec![value.clone()])));
        Ok(())
    }

    fn numbers(&mut self, rules: &mut Vec<Rule>) -> Result<(), String> {
        let number = |keyword: &str| match self.members.get(keyword) {
            Some(Value::Number(number)) => Ok(Some(number.clone())),
            Some(_) => Err(format!("\"{keyword}\" is no number")),
            None => Ok(None),
        };
        rules.extend(number("minimum")?.map(|least| Rule::Number(OfNumber::Least(least))));
        rules.extend(number("exclusiveMinimum")?.map(|least| Rule::Number(OfNumber::Above(least))));
        rules.extend(number("maximum")?.map(|most| Rule::Number(OfNumber::Most(most))));
        rules.extend(number("exclusiveMaximum")?.map(|most| Rule::Number(OfNumber::Below(most))));
        if let Some(of) = number("multipleOf")? {
            if of.as_f64().is_none_or(|of| of <= 0.0) {
                return Err("\"multipleOf\" is above 0".to_owned());
            }
            rules.push(Rule::Number(OfNumber::MultipleOf(of)));
        }
        Ok(())
    }

    fn texts(&mut self, rules: &mut Vec<Rule>) -> Result<(), String> {
        rules.extend(self.range("minLength", "maxLength", 0)?.map(|range| Rule::Text(OfText::Length(range))));
        if let Some(pattern) = self.members.get("pattern") {
            let pattern = pattern.as_str().ok_or("\"pattern\" is no text")?;
            rules.push(Rule::Text(OfText::Pattern(self.pattern(pattern)?)));
        }
        Ok(())
    }

    fn arrays(&mut self, rules: &mut Vec<Rule>) -> Result<(), String> {
        // Until 2019-09 an array of `items` was what `prefixItems` is now, and `additionalItems` the rest.
        let (first, rest) = match self.members.get("items") {
            Some(Value::Array(_)) => ("items", "additionalItems"),
            Some(_) | None => ("prefixItems", "items"),
        };
        let (first, rest) = (self.listed(first)?.unwrap_or_default(), self.one(rest)?);
        if rest.is_some() || !first.is_empty() {
            rules.push(Rule::Array(OfArray::Items(first, rest)));
        }
        if let Some(one) = self.one("contains")? {
            let range = self.range("minContains", "maxContains", 1)?;
            rules.push(Rule::Array(OfArray::Contains(one, range.unwrap_or(Range { least: 1, most: u64::MAX }))));
        }
        rules.extend(self.range("minItems", "maxItems", 0)?.map(|range| Rule::Array(OfArray::Count(range))));
        match self.members.get("uniqueItems") {
            Some(Value::Bool(true)) => rules.push(Rule::Array(OfArray::Unique)),
            Some(Value::Bool(false)) | None => {}
            Some(_) => return Err("\"uniqueItems\" is true or false".to_owned()),
        }
        Ok(())
    }

    fn objects(&mut self, rules: &mut Vec<Rule>) -> Result<(), String> {
        let named = self.named("properties")?.into_iter().collect();
        let mut patterns = Vec::new();
        for (pattern, index) in self.named("patternProperties")? {
            patterns.push((self.pattern(&pattern)?, index));
        }
        let members = Members { named, patterns, others: self.one("additionalProperties")? };
        if members.others.is_some() || !members.named.is_empty() || !members.patterns.is_empty() {
            rules.push(Rule::Object(OfObject::Members(members)));
        }
        rules.extend(self.one("propertyNames")?.map(|names| Rule::Object(OfObject::Names(names))));
        rules
            .extend(self.range("minProperties", "maxProperties", 0)?.map(|range| Rule::Object(OfObject::Count(range))));
        if let Some(names) = self.members.get("required") {
            rules.push(Rule::Object(OfObject::Required(words(names).ok_or("\"required\" is an array of names")?)));
        }
        for keyword in ["dependentRequired", "dependentSchemas", "dependencies"] {
            let Some(value) = self.members.get(keyword) else { continue };
            let entries = value.as_object().ok_or_else(|| format!("\"{keyword}\" is no object"))?;
            for (name, value) in entries {
                // `dependencies` was both, until 2019-09.
                if let Some(names) = words(value).filter(|_| keyword != "dependentSchemas") {
                    rules.push(Rule::Object(OfObject::RequiredWith(name.clone(), names)));
                } else if keyword == "dependentRequired" {
                    return Err("\"dependentRequired\" has arrays of names".to_owned());
                } else {
                    let place = format!("{}/{keyword}/{}", self.place, escaped(name));
                    rules.push(Rule::Object(OfObject::With(name.clone(), self.compiler.at(&place)?)));
                }
            }
        }
        Ok(())
    }

    fn together(&mut self, rules: &mut Vec<Rule>) -> Result<(), String> {
        rules.extend(self.listed("allOf")?.map(|all| Rule::Together(Together::All(all))));
        rules.extend(self.listed("anyOf")?.map(|any| Rule::Together(Together::Any(any))));
        rules.extend(self.listed("oneOf")?.map(|one| Rule::Together(Together::One(one))));
        rules.extend(self.one("not")?.map(|not| Rule::Together(Together::Not(not))));
        let (whether, then, otherwise) = (self.one("if")?, self.one("then")?, self.one("else")?);
        rules.extend(whether.map(|whether| Rule::Together(Together::If(whether, then, otherwise))));
        Ok(())
    }

    /// The schema of a keyword.
    fn one(&mut self, keyword: &str) -> Result<Option<Index>, String> {
        if !self.members.contains_key(keyword) {
            return Ok(None);
        }
        self.compiler.at(&format!("{}/{keyword}", self.place)).map(Some)
    }

    /// The schemas of a keyword, in their order.
    fn listed(&mut self, keyword: &str) -> Result<Option<Vec<Index>>, String> {
        let Some(value) = self.members.get(keyword) else { return Ok(None) };
        let count = value.as_array().ok_or_else(|| format!("\"{keyword}\" is no array"))?.len();
        (0..count)
            .map(|n| self.compiler.at(&format!("{}/{keyword}/{n}", self.place)))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The schemas of a keyword, by their names.
    fn named(&mut self, keyword: &str) -> Result<Vec<(String, Index)>, String> {
        let Some(value) = self.members.get(keyword) else { return Ok(Vec::new()) };
        let entries = value.as_object().ok_or_else(|| format!("\"{keyword}\" is no object"))?;
        let mut named = Vec::with_capacity(entries.len());
        for name in entries.keys() {
            let place = format!("{}/{keyword}/{}", self.place, escaped(name));
            named.push((name.clone(), self.compiler.at(&place)?));
        }
        Ok(named)
    }

    fn range(&self, least: &str, most: &str, usual: u64) -> Result<Option<Range>, String> {
        let count = |keyword: &str, usual: u64| match self.members.get(keyword) {
            // 2.0 is a whole number as well (2020-12, "Integers").
            Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
                (Some(whole), _) => Ok(whole),
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and in the range")]
                (None, Some(whole)) if whole.fract() == 0.0 && (0.0..1e15).contains(&whole) => Ok(whole as u64),
                (None, _) => Err(format!("\"{keyword}\" is a whole number")),
            },
            Some(_) => Err(format!("\"{keyword}\" is a whole number")),
            None => Ok(usual),
        };
        let range = Range { least: count(least, usual)?, most: count(most, u64::MAX)? };
        Ok((self.members.contains_key(least) || self.members.contains_key(most)).then_some(range))
    }

    fn pattern(&mut self, text: &str) -> Result<Pattern, String> {
        self.compiler.patterns += 1;
        if self.compiler.patterns > PATTERNS_MAX {
            return Err(format!("it has more than {PATTERNS_MAX} patterns"));
        }
        Pattern::new(text)
    }
}

/// An array of texts.
fn words(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect()
}

/// A name as a part of a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(left.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// As much of it as is told.
pub(super) fn clipped(text: &str) -> &str {
    text.get(..text.floor_char_boundary(PLACE_BYTES_MAX)).unwrap_or(text)
}
