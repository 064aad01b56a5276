//! Requests as views: their length first, then written into the caller's buffer; the same bytes each time.

use zeroize::Zeroize;

use crate::app::App;
use crate::base64::encode_block;
use crate::consent::{STATE_LEN, state_text};
use crate::error::{Error, Field, TooLong};
use crate::provider::{Authentication, RevocationBody};
use crate::secret::AccessToken;
use crate::write::{Writer, percent_encode};

/// A request that is to be sent: a view of a session, or of an access token. Its `Debug` shows its address alone.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    app: &'a App<'a>,
    content: Content<'a>,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Exchange { code: &'a [u8], redirect_uri: &'a str, verifier: Option<&'a [u8; 32]> },
    Refresh { token: &'a [u8] },
    Revoke { token: &'a [u8] },
    Get { origin: &'a str, path: &'a str, token: AccessToken<'a> },
}

impl<'a> Request<'a> {
    /// Reads the user's claims (OpenID Connect Core §5.3).
    ///
    /// # Errors
    /// The provider has no such endpoint.
    pub fn userinfo(app: &'a App<'a>, token: AccessToken<'a>) -> Result<Self, Error> {
        let origin = app.provider().userinfo_endpoint;
        if origin.is_empty() {
            return Err(Error::NoEndpoint);
        }
        Ok(Self { app, content: Content::Get { origin, path: "", token } })
    }

    /// Reads from the provider's API. `path` begins with `/`, is encoded already, and holds no token (USE-1).
    ///
    /// # Errors
    /// The provider has no API, or the path leaves its host.
    pub fn api(app: &'a App<'a>, token: AccessToken<'a>, path: &'a str) -> Result<Self, Error> {
        let origin = app.provider().api;
        let fits = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if origin.is_empty() || !fits {
            return Err(Error::NoEndpoint);
        }
        Ok(Self { app, content: Content::Get { origin, path, token } })
    }

    pub(crate) const fn exchange(
        app: &'a App<'a>,
        code: &'a [u8],
        redirect_uri: &'a str,
        verifier: Option<&'a [u8; 32]>,
    ) -> Self {
        Self { app, content: Content::Exchange { code, redirect_uri, verifier } }
    }

    pub(crate) const fn refresh(app: &'a App<'a>, token: &'a [u8]) -> Self {
        Self { app, content: Content::Refresh { token } }
    }

    pub(crate) const fn revoke(app: &'a App<'a>, token: &'a [u8]) -> Self {
        Self { app, content: Content::Revoke { token } }
    }

    /// `GET` or `POST`.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        if matches!(self.content, Content::Get { .. }) { "GET" } else { "POST" }
    }

    /// Bytes that [`Request::write`] needs.
    #[must_use]
    pub fn length(&self) -> usize {
        match self.write(&mut []) {
            Ok(_) => 0,
            Err(too_long) => too_long.needed,
        }
    }

    /// The request, its variable parts written into `buffer`. The buffer then holds secrets: wipe it once they are sent.
    ///
    /// # Errors
    /// The buffer is too small; the error says what it needs.
    pub fn write<'b>(&self, buffer: &'b mut [u8]) -> Result<Http<'b>, TooLong>
    where
        'a: 'b,
    {
        let mut out = Writer::new(buffer);
        self.write_authorization(&mut out);
        let authorization = out.length();
        let get = self.write_body(&mut out);
        let text = out.finish(Field::Buffer)?;
        let (authorization, rest) = text.split_at_checked(authorization).unwrap_or_default();
        let provider = self.app.provider();
        let (url, body) = match self.content {
            Content::Get { .. } => (rest, ""),
            Content::Exchange { .. } | Content::Refresh { .. } => (provider.token_endpoint, rest),
            Content::Revoke { .. } => (provider.revocation_endpoint, rest),
        };
        let (content_type, further) = match self.content {
            _ if get => ("", ("", "")),
            Content::Revoke { .. } if provider.revocation_body == RevocationBody::Json => {
                ("application/json", ("", ""))
            }
            Content::Exchange { .. } | Content::Refresh { .. } => (FORM, provider.token_request_header),
            Content::Revoke { .. } | Content::Get { .. } => (FORM, ("", "")),
        };
        let headers = [
            ("authorization", authorization),
            ("content-type", content_type),
            ("accept", "application/json"),
            further,
        ];
        Ok(Http { method: self.method(), url, headers, body })
    }

    fn write_authorization(&self, out: &mut Writer<'_>) {
        let (id, secret) = (self.app.client_id().as_bytes(), self.app.client_secret());
        match (self.content, self.app.provider().authentication) {
            (Content::Get { token, .. }, _) => {
                out.text("Bearer ");
                out.text(token.expose());
            }
            (_, Authentication::Basic) => {
                let mut basic = Basic::new(out);
                [id, b":", secret].into_iter().for_each(|part| basic.add(part));
                basic.finish();
            }
            // RFC 6749 §2.3.1: both are form-encoded first.
            (_, Authentication::BasicEncoded) => {
                let mut basic = Basic::new(out);
                percent_encode(id).for_each(|byte| basic.add(&[byte]));
                basic.add(b":");
                percent_encode(secret).for_each(|byte| basic.add(&[byte]));
                basic.finish();
            }
            (_, Authentication::Post) => {}
        }
    }

    /// The body, or the URL of a request that has none; says which.
    fn write_body(&self, out: &mut Writer<'_>) -> bool {
        match self.content {
            Content::Get { origin, path, .. } => {
                out.text(origin);
                out.text(path);
                return true;
            }
            Content::Exchange { code, redirect_uri, verifier } => {
                out.text("grant_type=authorization_code&code=");
                out.encoded(code);
                out.text("&redirect_uri=");
                out.encoded(redirect_uri.as_bytes());
                if let Some(verifier) = verifier {
                    let mut text = [0; STATE_LEN];
                    out.text("&code_verifier=");
                    out.text(state_text(verifier, &mut text));
                    text.zeroize();
                }
            }
            Content::Refresh { token } => {
                out.text("grant_type=refresh_token&refresh_token=");
                out.encoded(token);
            }
            Content::Revoke { token } if self.app.provider().revocation_body == RevocationBody::Json => {
                out.text("{\"token\":\"");
                out.json(token);
                out.text("\"}");
                return false;
            }
            Content::Revoke { token } => {
                out.text("token=");
                out.encoded(token);
                out.text("&token_type_hint=refresh_token");
            }
        }
        if self.app.provider().authentication == Authentication::Post {
            out.text("&client_id=");
            out.encoded(self.app.client_id().as_bytes());
            out.text("&client_secret=");
            out.encoded(self.app.client_secret());
        }
        false
    }
}

impl core::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let what = match self.content {
            Content::Exchange { .. } => "exchange",
            Content::Refresh { .. } => "refresh",
            Content::Revoke { .. } => "revoke",
            Content::Get { .. } => "get",
        };
        f.debug_tuple("Request").field(&what).finish()
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// `Basic` and the base64 of what is added, encoded in pieces that need no padding but the last.
struct Basic<'o, 'b> {
    out: &'o mut Writer<'b>,
    piece: [u8; 48],
    length: usize,
    text: [u8; 64],
}

impl<'o, 'b> Basic<'o, 'b> {
    fn new(out: &'o mut Writer<'b>) -> Self {
        out.text("Basic ");
        Self { out, piece: [0; 48], length: 0, text: [0; 64] }
    }

    fn add(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.length == self.piece.len() {
                encode_block(&self.piece, &mut self.text);
                self.out.bytes(&self.text);
                self.piece = [0; 48];
                self.length = 0;
            }
            let room = self.piece.get_mut(self.length..).unwrap_or_default();
            let (part, after) = rest.split_at_checked(room.len()).unwrap_or((rest, &[]));
            if let Some(room) = room.get_mut(..part.len()) {
                room.copy_from_slice(part);
            }
            self.length = self.length.saturating_add(part.len());
            rest = after;
        }
    }

    /// The last piece: what is behind its end is zero, and its letters give way to padding.
    fn finish(mut self) {
        encode_block(&self.piece, &mut self.text);
        let letters = self.length.saturating_mul(4).div_ceil(3);
        let whole = letters.next_multiple_of(4);
        self.out.bytes(self.text.get(..letters).unwrap_or_default());
        self.out.bytes(b"===".get(..whole.saturating_sub(letters)).unwrap_or_default());
        self.piece.zeroize();
        self.text.zeroize();
    }
}

/// A request in plain words, for whoever speaks HTTP. Its `Debug` shows neither headers nor body.
#[derive(Clone, Copy)]
pub struct Http<'b> {
    method: &'static str,
    url: &'b str,
    headers: [(&'b str, &'b str); 4],
    body: &'b str,
}

impl<'b> Http<'b> {
    /// `GET` or `POST`.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        self.method
    }

    /// The whole URL. Follow no redirect: it would carry the secret elsewhere.
    #[must_use]
    pub const fn url(&self) -> &'b str {
        self.url
    }

    /// The headers, names in lower case. `host` and `content-length` are the transport's.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b str)> + use<'b> {
        self.headers.into_iter().filter(|(name, value)| !name.is_empty() && !value.is_empty())
    }

    /// The body; empty for a `GET`.
    #[must_use]
    pub const fn body(&self) -> &'b str {
        self.body
    }
}

impl core::fmt::Debug for Http<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Http")
            .field("method", &self.method)
            .field("body_length", &self.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};

    use super::Basic;
    use crate::error::Field;
    use crate::write::Writer;

    #[test]
    fn basic_is_the_base64_of_its_parts_joined() {
        let bytes: [u8; 150] = core::array::from_fn(|at| u8::try_from(at).unwrap().wrapping_mul(101));
        for (length, cut) in (0..=150).flat_map(|length| [0, length / 2, length].map(|cut| (length, cut))) {
            let mut buffer = [0; 220];
            let mut out = Writer::new(&mut buffer);
            let mut basic = Basic::new(&mut out);
            basic.add(&bytes[..cut]);
            basic.add(&bytes[cut..length]);
            basic.finish();
            let text = out.finish(Field::Buffer).unwrap();
            let mut expected = [0; 200];
            assert_eq!(text.strip_prefix("Basic "), Base64::encode(&bytes[..length], &mut expected).ok());
        }
    }
}
