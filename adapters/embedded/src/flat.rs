//! Reads what [`Record::write`](evergrant::Record::write) wrote: one flat JSON object of numbers and of texts without an
//! escape.
//!
//! It is no JSON parser. What it does not know it refuses, and a record with anything else in it is damaged anyway. It is a
//! tenth of a general one's code, and has no slicing in it that could panic.

use core::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Reads a value of that form; `None` for anything else, and for what stands behind it.
#[must_use]
pub fn from_slice<'de, T: de::Deserialize<'de>>(bytes: &'de [u8]) -> Option<T> {
    let text = core::str::from_utf8(bytes).ok()?;
    let mut object = Object { rest: text.as_bytes(), text: text.as_bytes() };
    object.byte(b'{')?;
    let value = T::deserialize(&mut object).ok()?;
    (object.byte(b'}').is_some() && object.rest.is_empty()).then_some(value)
}

/// Not of that form.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a flat object of numbers and texts")
    }
}

impl core::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

struct Object<'de> {
    text: &'de [u8],
    rest: &'de [u8],
}

impl<'de> Object<'de> {
    fn byte(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        (*first == wanted).then(|| self.rest = rest)
    }

    /// What stands between two quotes, and holds no escape.
    fn quoted(&mut self) -> Option<&'de str> {
        self.byte(b'"')?;
        let end = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        self.byte(b'"')?;
        // It was all looked at before, and cut between two whole characters.
        core::str::from_utf8(text).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number: Option<u64> = None;
        while let Some((digit @ b'0'..=b'9', rest)) = self.rest.split_first() {
            let digit = u64::from(digit.saturating_sub(b'0'));
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
            self.rest = rest;
        }
        number
    }

    fn is_first(&self) -> bool {
        self.rest.len().saturating_add(1) == self.text.len()
    }
}

impl<'de> Deserializer<'de> for &mut Object<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for &mut Object<'de> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        if self.rest == b"}" {
            return Ok(None);
        }
        if !self.is_first() {
            self.byte(b',').ok_or(Refused)?;
        }
        let key = self.quoted().ok_or(Refused)?;
        self.byte(b':').ok_or(Refused)?;
        seed.deserialize(Scalar::Text(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let scalar = if self.rest.first() == Some(&b'"') {
            self.quoted().map(Scalar::Text)
        } else {
            self.number().map(Scalar::Number)
        };
        seed.deserialize(scalar.ok_or(Refused)?)
    }
}

#[derive(Clone, Copy)]
enum Scalar<'de> {
    Text(&'de str),
    Number(u64),
}

impl<'de> Deserializer<'de> for Scalar<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self {
            Self::Text(text) => visitor.visit_borrowed_str(text),
            Self::Number(number) => visitor.visit_u64(number),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::from_slice;
    use serde::Deserialize;

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Flat<'a> {
        a: u32,
        b: &'a str,
        #[serde(default)]
        c: Option<&'a str>,
    }

    #[test]
    fn a_flat_object_is_read_and_nothing_else_is() {
        let (a, b) = (7, "x y");
        assert_eq!(from_slice(br#"{"a":7,"b":"x y"}"#), Some(Flat { a, b, c: None }));
        assert_eq!(from_slice(br#"{"c":"z","b":"x y","a":7}"#), Some(Flat { a, b, c: Some("z") }));
        for other in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"a":7,"b":"x y"} "#,
            r#"{"a":7,"b":"x y"}}"#,
            r#"{"a":7,"b":"x\"y"}"#,
            r#"{"a":7 ,"b":""}"#,
            r#"{"a":-7,"b":""}"#,
            r#"{"a":4294967296,"b":""}"#,
            r#"{"a":7,"b":"","#,
            r#"{"a":7"b":""}"#,
            r#"{,"a":7,"b":""}"#,
            r#"{"a":7,"b":"","d":1}"#,
            r#"{"a":7,"a":7,"b":""}"#,
            r#"{"a":{},"b":""}"#,
            r#"{"a":null,"b":""}"#,
        ] {
            assert_eq!(from_slice::<Flat<'_>>(other.as_bytes()), None, "{other}");
        }
    }
}
