//! Userinfo: the user's claims, typed.

use core::fmt;

use serde::Deserialize;

use crate::error::UserinfoError;
use crate::json::{BODY_MOST, lenient, object};

/// The user's claims (SCO-5). Which are there depends on the scopes, and on what the user has told the provider. Its
/// `Debug` says which, and not what.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Userinfo {
    /// The user: the ID token's `sub`.
    pub subject: String,
    /// With `email`. It can change, and be given to another user later: the subject is what names one.
    pub email: Option<String>,
    /// With `email`: whether the provider has made sure of it.
    pub email_verified: Option<bool>,
    /// With `profile`. The whole name; Intuit sends none.
    pub name: Option<String>,
    /// With `profile`.
    pub given_name: Option<String>,
    /// With `profile`.
    pub family_name: Option<String>,
    /// With `phone`.
    pub phone_number: Option<String>,
    /// With `phone`: whether the provider has made sure of it.
    pub phone_number_verified: Option<bool>,
    /// With `address`.
    pub address: Option<Address>,
}

/// A postal address. Its `Debug` shows nothing of it.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Address {
    /// Street and number; may have several lines.
    pub street_address: Option<String>,
    /// City.
    pub locality: Option<String>,
    /// State, province or region.
    pub region: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// Country.
    pub country: Option<String>,
}

impl Userinfo {
    /// Reads the answer to [`Request::userinfo`](evergrant::Request::userinfo): in Intuit's spelling (wire-facts section 7:
    /// `emailVerified`) or in the standard's (`email_verified`; OpenID Connect Core §5.1). A claim of an unexpected type
    /// counts as absent.
    ///
    /// `subject` is that of the ID token ([`Identity::subject`](crate::Identity::subject)), or the one that was kept from
    /// it.
    ///
    /// # Errors
    /// It is no answer, or not of this user (OpenID Connect Core §5.3.2): nothing of it may be used.
    pub fn read(status: u16, body: &[u8], subject: &str) -> Result<Self, UserinfoError> {
        match status {
            200 if body.len() > BODY_MOST => return Err(UserinfoError::TooLong),
            200 => {}
            401 => return Err(UserinfoError::Unauthorized),
            403 => return Err(UserinfoError::Forbidden),
            other => return Err(UserinfoError::Status(other)),
        }
        let wire: Wire = object(body).ok_or(UserinfoError::Malformed)?;
        match wire.sub.as_deref() {
            None | Some("") => Err(UserinfoError::NoSubject),
            Some(other) if other != subject => Err(UserinfoError::OtherSubject),
            Some(_) => Ok(wire.userinfo()),
        }
    }
}

/// Both spellings. A claim that comes twice in one spelling makes the whole unreadable.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    #[serde(deserialize_with = "lenient")]
    sub: Option<String>,
    #[serde(deserialize_with = "lenient")]
    email: Option<String>,
    #[serde(deserialize_with = "lenient")]
    email_verified: Option<bool>,
    #[serde(rename = "emailVerified", deserialize_with = "lenient")]
    intuit_email_verified: Option<bool>,
    #[serde(deserialize_with = "lenient")]
    name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    given_name: Option<String>,
    #[serde(rename = "givenName", deserialize_with = "lenient")]
    intuit_given_name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    family_name: Option<String>,
    #[serde(rename = "familyName", deserialize_with = "lenient")]
    intuit_family_name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    phone_number: Option<String>,
    #[serde(rename = "phoneNumber", deserialize_with = "lenient")]
    intuit_phone_number: Option<String>,
    #[serde(deserialize_with = "lenient")]
    phone_number_verified: Option<bool>,
    #[serde(rename = "phoneNumberVerified", deserialize_with = "lenient")]
    intuit_phone_number_verified: Option<bool>,
    #[serde(deserialize_with = "lenient")]
    address: Option<WireAddress>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireAddress {
    #[serde(deserialize_with = "lenient")]
    street_address: Option<String>,
    #[serde(rename = "streetAddress", deserialize_with = "lenient")]
    intuit_street_address: Option<String>,
    #[serde(deserialize_with = "lenient")]
    locality: Option<String>,
    #[serde(deserialize_with = "lenient")]
    region: Option<String>,
    #[serde(deserialize_with = "lenient")]
    postal_code: Option<String>,
    #[serde(rename = "postalCode", deserialize_with = "lenient")]
    intuit_postal_code: Option<String>,
    #[serde(deserialize_with = "lenient")]
    country: Option<String>,
}

impl Wire {
    fn userinfo(self) -> Userinfo {
        Userinfo {
            subject: self.sub.unwrap_or_default(),
            email: self.email,
            email_verified: self.intuit_email_verified.or(self.email_verified),
            name: self.name,
            given_name: self.intuit_given_name.or(self.given_name),
            family_name: self.intuit_family_name.or(self.family_name),
            phone_number: self.intuit_phone_number.or(self.phone_number),
            phone_number_verified: self.intuit_phone_number_verified.or(self.phone_number_verified),
            address: self.address.map(WireAddress::address),
        }
    }
}

impl WireAddress {
    fn address(self) -> Address {
        Address {
            street_address: self.intuit_street_address.or(self.street_address),
            locality: self.locality,
            region: self.region,
            postal_code: self.intuit_postal_code.or(self.postal_code),
            country: self.country,
        }
    }
}

impl fmt::Debug for Userinfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Userinfo")
            .field("email", &self.email.is_some())
            .field("email_verified", &self.email_verified)
            .field("name", &(self.name.is_some() || self.given_name.is_some() || self.family_name.is_some()))
            .field("phone_number", &self.phone_number.is_some())
            .field("address", &self.address.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address([redacted])")
    }
}
