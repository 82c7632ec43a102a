//! Reads the object of a leaf, and proves in the same pass that it is the one spelling of what it says.
//! It never accepts JSON that this crate would not have written: it is a reader for our writer, not for JSON.
//!
//! What makes a spelling the only one: no white space, numbers and strings in the writer's form, the members of a
//! struct in the order of its type (so none twice, and none unknown), the keys of a map in ascending order, no `null`.
//! A member that the writer leaves out when it has its default is for its type to refuse, see [`kept`].

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer as _};
use serde::de::{MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use std::borrow::Cow;
use std::fmt;

/// Why bytes are not an object in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StrictError {
    /// They are not what the writer would have written.
    Spelling,
    /// They are no value of the type.
    Value(String),
}

impl fmt::Display for StrictError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spelling => f.write_str("another spelling"),
            Self::Value(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StrictError {}

impl de::Error for StrictError {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self::Value(why.to_string())
    }
}

type Result<T> = std::result::Result<T, StrictError>;

/// The value at the start of `json`, and what follows it.
pub(super) fn read_one<'de, T: Deserialize<'de>>(json: &'de str) -> Result<(T, &'de str)> {
    let mut strict = Strict { rest: json };
    Ok((T::deserialize(&mut strict)?, strict.rest))
}

/// For members that are left out when they have their default: there, they have another value.
pub(super) fn kept<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialEq,
{
    let value = T::deserialize(deserializer)?;
    if value == T::default() {
        return Err(de::Error::custom("a member with its default is left out"));
    }
    Ok(value)
}

/// The reader: what is left to read.
struct Strict<'de> {
    rest: &'de str,
}

impl<'de> Strict<'de> {
    fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    fn byte(&mut self, byte: u8) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(StrictError::Spelling);
        }
        self.rest = self.rest.get(1..).ok_or(StrictError::Spelling)?;
        Ok(())
    }

    /// Whether another element follows; takes the comma before it, or the end.
    fn another(&mut self, first: &mut bool, end: u8) -> Result<bool> {
        if self.peek() == Some(end) {
            self.byte(end)?;
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.byte(b',')?;
        }
        Ok(true)
    }

    /// A decimal number below 2⁶⁴ without leading zeros.
    fn digits(&mut self) -> Result<u64> {
        let (number, rest) = super::leaf::number(self.rest.as_bytes()).ok_or(StrictError::Spelling)?;
        self.rest = self.rest.get(self.rest.len() - rest.len()..).ok_or(StrictError::Spelling)?;
        Ok(number)
    }

    /// A string, borrowed unless something in it is escaped.
    fn string(&mut self) -> Result<Cow<'de, str>> {
        self.byte(b'"')?;
        let plain = self.plain();
        if self.peek() == Some(b'"') {
            self.byte(b'"')?;
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while self.peek() == Some(b'\\') {
            self.byte(b'\\')?;
            let (c, rest) = unescape(self.rest).ok_or(StrictError::Spelling)?;
            self.rest = rest;
            text.push(c);
            text.push_str(self.plain());
        }
        self.byte(b'"')?;
        Ok(Cow::Owned(text))
    }

    /// What stands for itself in a string, up to what does not.
    fn plain(&mut self) -> &'de str {
        let (plain, rest) = self.rest.split_at(plain_len(self.rest.as_bytes()));
        self.rest = rest;
        plain
    }
}

/// How many bytes at the start of `bytes` stand for themselves in a string; what ends them is ASCII.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    const PLAIN: [bool; 256] = {
        let mut plain = [true; 256];
        let mut control = 0;
        while control < 0x20 {
            plain[control] = false;
            control += 1;
        }
        plain[b'"' as usize] = false;
        plain[b'\\' as usize] = false;
        plain
    };
    bytes.iter().position(|byte| !PLAIN[usize::from(*byte)]).unwrap_or(bytes.len())
}

/// The character that an escape stands for, if that is how the writer escapes it, and what follows.
fn unescape(after_backslash: &str) -> Option<(char, &str)> {
    let mut chars = after_backslash.chars();
    let c = match chars.next()? {
        c @ ('"' | '\\') => c,
        'b' => '\u{8}',
        't' => '\t',
        'n' => '\n',
        'f' => '\u{c}',
        'r' => '\r',
        'u' => return unescape_control(chars.as_str()),
        _ => return None,
    };
    Some((c, chars.as_str()))
}

/// `00xx`: a control that has no shorter escape.
fn unescape_control(digits: &str) -> Option<(char, &str)> {
    let (digits, rest) = digits.split_at_checked(4)?;
    let [byte] = crate::text::unhex::<1>(digits.strip_prefix("00")?)?;
    let short = matches!(byte, 0x08 | b'\t' | b'\n' | 0x0c | b'\r');
    (byte < 0x20 && !short).then_some((char::from(byte), rest))
}

impl<'de> Deserializer<'de> for &mut Strict<'de> {
    type Error = StrictError;

    /// A path is a string or a map; nothing else asks what comes.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'"') => self.deserialize_str(visitor),
            Some(b'{') => self.deserialize_map(visitor),
            Some(_) | None => Err(StrictError::Spelling),
        }
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u64(self.digits()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u64(self.digits()?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u64(self.digits()?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.peek() != Some(b'-') {
            return visitor.visit_u64(self.digits()?);
        }
        self.byte(b'-')?;
        // Nothing negative is as large as 2⁶³, and there is no minus zero.
        let magnitude = i64::try_from(self.digits()?).ok().filter(|magnitude| *magnitude > 0);
        visitor.visit_i64(-magnitude.ok_or(StrictError::Spelling)?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_str(visitor)
    }

    /// What has no value is left out, so what is there has one.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.byte(b'[')?;
        visitor.visit_seq(List { strict: self, first: true })
    }

    /// A list of a known length.
    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        self.byte(b'[')?;
        let value = visitor.visit_seq(List { strict: &mut *self, first: true })?;
        self.byte(b']')?;
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.byte(b'{')?;
        visitor.visit_map(Keys { strict: self, last: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.byte(b'{')?;
        visitor.visit_map(Members { strict: self, fields, next: 0, first: true })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        if self.peek() == Some(b'"') {
            return visitor.visit_enum(Variant { strict: self, form: Form::Word });
        }
        self.byte(b'{')?;
        let value = visitor.visit_enum(Variant { strict: self, form: Form::Object })?;
        self.byte(b'}')?;
        Ok(value)
    }

    // No record has such a value; a type that asks for one is told that there is a string or a map, or refused.
    forward_to_deserialize_any! {
        bool i8 i16 i64 i128 u8 u128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct ignored_any
    }
}

/// The elements of a list.
struct List<'a, 'de> {
    strict: &'a mut Strict<'de>,
    first: bool,
}

impl<'de> SeqAccess<'de> for List<'_, 'de> {
    type Error = StrictError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.strict.another(&mut self.first, b']')? {
            seed.deserialize(&mut *self.strict).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// The entries of a map, in ascending order of their keys.
struct Keys<'a, 'de> {
    strict: &'a mut Strict<'de>,
    last: Option<Cow<'de, str>>,
}

impl<'de> MapAccess<'de> for Keys<'_, 'de> {
    type Error = StrictError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if !self.strict.another(&mut self.last.is_none(), b'}')? {
            return Ok(None);
        }
        let key = self.strict.string()?;
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(StrictError::Spelling);
        }
        let value = seed.deserialize(de::value::CowStrDeserializer::new(key.clone()))?;
        self.last = Some(key);
        Ok(Some(value))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        self.strict.byte(b':')?;
        seed.deserialize(&mut *self.strict)
    }
}

/// The members of a struct, in the order of its type.
struct Members<'a, 'de> {
    strict: &'a mut Strict<'de>,
    fields: &'static [&'static str],
    /// Number of the first that may still come.
    next: usize,
    first: bool,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = StrictError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if !self.strict.another(&mut self.first, b'}')? {
            return Ok(None);
        }
        let rest = self.strict.rest;
        let quote = |at: usize| rest.as_bytes().get(at) == Some(&b'"');
        for (number, field) in self.fields.iter().enumerate().skip(self.next) {
            // Most members that are not this one are told by their length.
            let named = quote(0) && quote(1 + field.len()) && rest.get(1..1 + field.len()) == Some(field);
            if named && let Some(rest) = rest.get(2 + field.len()..).and_then(|rest| rest.strip_prefix(':')) {
                (self.next, self.strict.rest) = (number + 1, rest);
                // What serde derives takes a member's number among `fields` for its name.
                return seed.deserialize((number as u64).into_deserializer()).map(Some);
            }
        }
        let key = self.strict.string()?;
        let known = self.fields.iter().any(|field| **field == key);
        Err(if known { StrictError::Spelling } else { de::Error::unknown_field(&key, self.fields) })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        seed.deserialize(&mut *self.strict)
    }
}

/// How a variant is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As its name: it holds nothing.
    Word,
    /// As an object with one member: it holds that.
    Object,
}

struct Variant<'a, 'de> {
    strict: &'a mut Strict<'de>,
    form: Form,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = StrictError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        let name = seed.deserialize(&mut *self.strict)?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = StrictError;

    fn unit_variant(self) -> Result<()> {
        if self.form == Form::Word { Ok(()) } else { Err(StrictError::Spelling) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        if self.form == Form::Word {
            return Err(StrictError::Spelling);
        }
        self.strict.byte(b':')?;
        seed.deserialize(self.strict)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value> {
        Err(StrictError::Spelling)
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], _visitor: V) -> Result<V::Value> {
        Err(StrictError::Spelling)
    }
}
