//! The reader of the API's faults against `serde_json`, and against XML that is written here.

use std::fmt;

use evergrant::api::{Meaning, fault_code, judge};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::answer::depth;

/// The first two bytes are a status, the rest a body.
pub fn api(data: &[u8]) {
    let Some((status, body)) = data.split_first_chunk::<2>() else { return };
    let status = u16::from_be_bytes(*status) % 600;
    let code = fault_code(body);
    let expected = match status {
        401 if code == Some(130) => Meaning::WrongEnvironment,
        401 => Meaning::TokenExpired,
        403 => Meaning::Forbidden,
        429 => Meaning::Throttled,
        500..=599 => Meaning::Outage,
        _ => Meaning::Fine,
    };
    assert_eq!(judge(status, body), expected);
    if let Ok(json) = std::str::from_utf8(body)
        && serde_json::from_str::<&RawValue>(json).is_ok_and(|whole| depth(whole.get()) <= 30)
    {
        assert_eq!(code, code_in(json), "{json}");
    }
    let number = u32::from(status);
    let filler: String =
        body.iter().map(|byte| char::from(*byte)).filter(char::is_ascii_alphanumeric).collect();
    let xml = format!(
        "<?xml version=\"1.0\"?><IntuitResponse><Fault type=\"{filler}\"><Error code=\"{number}\" element=\"{filler}\"><Message>{filler}</Message></Error></Fault></IntuitResponse>"
    );
    assert_eq!(fault_code(xml.as_bytes()), Some(number));
}

/// `Fault.Error[0].code`, in either spelling: of the outer members the first counts, of the codes the last.
fn code_in(json: &str) -> Option<u32> {
    let fault = first(json, ["Fault", "fault"])?;
    let errors = first(&fault, ["Error", "error"])?;
    let one = match serde_json::from_str::<Vec<Box<RawValue>>>(&errors) {
        Ok(all) => all.first()?.get().to_owned(),
        Err(_) => errors,
    };
    let Pairs(pairs) = serde_json::from_str(&one).ok()?;
    let (_, code) = pairs.into_iter().rfind(|(name, _)| name == "code")?;
    // A code with an escape in it is none of Intuit's.
    if code.contains('\\') {
        return None;
    }
    let digits = code.strip_prefix('"').unwrap_or(&code);
    let end = digits.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

fn first(json: &str, names: [&str; 2]) -> Option<String> {
    let Pairs(pairs) = serde_json::from_str(json).ok()?;
    pairs.into_iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value)
}

/// An object's members in their order, duplicates and all.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    pairs.push((name, value.get().to_owned()));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(All)
    }
}
