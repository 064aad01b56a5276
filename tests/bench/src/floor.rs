//! The floor: the least that any program must do. No escapes, no errors, no wiping, and no check but that of the state.
//!
//! `Floor<false>` writes everything out each time, byte by byte, as one would, and searches as the standard library does. `Floor<true>` has what never changes at
//! hand (the URL up to its state, the `Authorization` header, the request's fixed parts) and looks for bytes with the
//! memchr crate.

use std::hint::black_box;

use sha2::{Digest, Sha256};

use crate::data::{self, Data};
use crate::signed::{is_signed, sign};
use crate::{Contestant, Item, Seen};

/// Bytes in memory of a fixed size.
#[derive(Clone, Debug)]
struct Bytes<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Bytes<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn set(&mut self, bytes: &[u8]) {
        self.length = 0;
        self.add(bytes);
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn encoded(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                self.push(*byte);
            } else {
                self.push(b'%');
                self.push(b"0123456789ABCDEF"[usize::from(byte >> 4)]);
                self.push(b"0123456789ABCDEF"[usize::from(byte & 15)]);
            }
        }
    }

    fn base64(&mut self, bytes: &[u8], alphabet: &[u8; 64], padded: bool) {
        for chunk in bytes.chunks(3) {
            let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
            let word = byte(0) << 16 | byte(1) << 8 | byte(2);
            for place in 0..4 {
                if place <= chunk.len() {
                    self.push(alphabet[(word >> (18 - 6 * place) & 63) as usize]);
                } else if padded {
                    self.push(b'=');
                }
            }
        }
    }

    fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut first = 20;
        let mut rest = number;
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.add(&digits[first..]);
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What is kept of a grant.
#[derive(Clone, Debug)]
struct Tokens {
    access: Bytes<4096>,
    refresh: Bytes<512>,
    access_until: u64,
    refresh_until: u64,
}

/// The floor.
#[derive(Debug)]
pub struct Floor<const READY: bool> {
    data: Data,
    tokens: Tokens,
    code: Bytes<512>,
    realm: Bytes<20>,
    url: Bytes<1024>,
    authorization: Bytes<256>,
    body: Bytes<1024>,
    header: Bytes<4104>,
    record: Bytes<6144>,
    /// What never changes.
    fixed_url: Bytes<512>,
    fixed_authorization: Bytes<256>,
    fixed_exchange_end: Bytes<128>,
}

impl<const READY: bool> Default for Floor<READY> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const READY: bool> Floor<READY> {
    #[must_use]
    pub fn new() -> Self {
        let tokens =
            Tokens { access: Bytes::new(), refresh: Bytes::new(), access_until: 0, refresh_until: 0 };
        let mut floor = Self {
            data: Data::new(),
            tokens,
            code: Bytes::new(),
            realm: Bytes::new(),
            url: Bytes::new(),
            authorization: Bytes::new(),
            body: Bytes::new(),
            header: Bytes::new(),
            record: Bytes::new(),
            fixed_url: Bytes::new(),
            fixed_authorization: Bytes::new(),
            fixed_exchange_end: Bytes::new(),
        };
        write_url(&mut floor.fixed_url);
        write_basic(&mut floor.fixed_authorization);
        floor.fixed_exchange_end.add(b"&redirect_uri=");
        floor.fixed_exchange_end.encoded(data::REDIRECT.as_bytes());
        floor
    }

    fn url(&mut self) {
        if READY {
            self.url.set(self.fixed_url.get());
        } else {
            self.url.length = 0;
            write_url(&mut self.url);
        }
        self.url.add(black_box(self.data.state.as_bytes()));
    }

    fn url_pkce(&mut self) {
        self.url();
        self.url.add(b"&code_challenge_method=S256&code_challenge=");
        let digest = Sha256::digest(black_box(&self.data.verifier));
        self.url.base64(&digest, BASE64URL, false);
    }

    fn url_signed(&mut self) {
        if READY {
            self.url.set(self.fixed_url.get());
        } else {
            self.url.length = 0;
            write_url(&mut self.url);
        }
        let mut payload = Bytes::<64>::new();
        payload.add(&data::NOW.to_be_bytes());
        payload.add(black_box(&data::RANDOM[..16]));
        let mac = sign(payload.get());
        payload.add(&mac);
        self.url.base64(payload.get(), BASE64URL, false);
    }

    fn callback(&mut self) {
        let text = black_box(self.data.callback.as_str());
        let mut rest = &text[find::<READY>('?', text) + 1..];
        let mut ours = false;
        while !rest.is_empty() {
            let end = find::<READY>('&', rest);
            let pair = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            let equals = find::<READY>('=', pair);
            let value = &pair[equals + 1..];
            match &pair[..equals] {
                "code" => self.code.set(value.as_bytes()),
                "state" => ours = value == self.data.state,
                "realmId" => self.realm.set(value.as_bytes()),
                _ => {}
            }
        }
        assert!(ours);
    }

    fn authorization(&mut self) {
        if READY {
            self.authorization.set(self.fixed_authorization.get());
        } else {
            self.authorization.length = 0;
            write_basic(&mut self.authorization);
        }
    }

    fn exchange(&mut self) {
        self.authorization();
        self.body.set(b"grant_type=authorization_code&code=");
        self.body.encoded(self.code.get());
        if READY {
            self.body.add(self.fixed_exchange_end.get());
        } else {
            self.body.add(b"&redirect_uri=");
            self.body.encoded(data::REDIRECT.as_bytes());
        }
    }

    fn refresh_request(&mut self) {
        self.authorization();
        self.body.set(b"grant_type=refresh_token&refresh_token=");
        if READY {
            // Its characters are known to stand for themselves.
            self.body.add(self.tokens.refresh.get());
        } else {
            self.body.encoded(self.tokens.refresh.get());
        }
    }

    fn revoke(&mut self) {
        self.authorization();
        self.body.set(b"{\"token\":\"");
        self.body.add(self.tokens.refresh.get());
        self.body.add(b"\"}");
        self.tokens.access.length = 0;
    }

    /// Name after name, each behind a quote, its value behind a colon.
    fn answer(&mut self, now: u64, body: fn(&Data) -> &str) {
        let mut rest = black_box(body(&self.data));
        loop {
            let quote = find::<READY>('"', rest);
            if quote == rest.len() {
                break;
            }
            rest = &rest[quote + 1..];
            let end = find::<READY>('"', rest);
            let name = &rest[..end];
            rest = &rest[end + 2..];
            let value = if rest.as_bytes()[0] == b'"' {
                rest = &rest[1..];
                let end = find::<READY>('"', rest);
                let value = &rest[..end];
                rest = &rest[end + 1..];
                value
            } else {
                let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
                let value = &rest[..end];
                rest = &rest[end..];
                value
            };
            match name {
                "access_token" => self.tokens.access.set(value.as_bytes()),
                "refresh_token" => self.tokens.refresh.set(value.as_bytes()),
                "expires_in" => self.tokens.access_until = now + number(value),
                "x_refresh_token_expires_in" => self.tokens.refresh_until = now + number(value),
                _ => {}
            }
        }
    }

    fn fresh(&mut self) {
        assert!(black_box(data::NOW) < self.tokens.access_until);
        self.header.set(b"Bearer ");
        self.header.add(self.tokens.access.get());
    }

    fn write_record(&mut self) {
        self.record.length = 0;
        self.record.add(b"{\"access\":\"");
        self.record.add(self.tokens.access.get());
        self.record.add(b"\",\"refresh\":\"");
        self.record.add(self.tokens.refresh.get());
        self.record.add(b"\",\"realm\":\"");
        self.record.add(self.realm.get());
        self.record.add(b"\",\"access_until\":");
        self.record.number(self.tokens.access_until);
        self.record.add(b",\"refresh_until\":");
        self.record.number(self.tokens.refresh_until);
        self.record.add(b"}");
    }

    /// In the order in which it was written.
    fn read_record(&mut self) {
        let text = black_box(&self.record.bytes[..self.record.length]);
        let text = std::str::from_utf8(text).unwrap_or_default();
        let mut rest = &text[11..];
        let mut next = |skip: usize, until: char| {
            let end = find::<READY>(until, rest);
            let value = &rest[..end];
            rest = &rest[(end + skip).min(rest.len())..];
            value
        };
        self.tokens.access.set(next(13, '"').as_bytes());
        self.tokens.refresh.set(next(11, '"').as_bytes());
        self.realm.set(next(17, '"').as_bytes());
        self.tokens.access_until = number(next(17, ','));
        self.tokens.refresh_until = number(next(1, '}'));
    }

    pub fn connect(&mut self) {
        self.url();
        self.callback();
        self.exchange();
        self.answer(data::NOW, |data| &data.first.body);
    }

    pub fn refresh(&mut self) {
        assert!(black_box(data::LATER) >= self.tokens.access_until);
        self.refresh_request();
        self.answer(data::LATER, |data| &data.second.body);
        self.write_record();
    }
}

fn write_url<const N: usize>(out: &mut Bytes<N>) {
    out.add(data::AUTHORIZE.as_bytes());
    out.add(b"?client_id=");
    out.encoded(data::CLIENT_ID.as_bytes());
    out.add(b"&response_type=code&scope=");
    out.encoded(data::SCOPES[0].as_bytes());
    out.add(b"%20");
    out.encoded(data::SCOPES[1].as_bytes());
    out.add(b"&redirect_uri=");
    out.encoded(data::REDIRECT.as_bytes());
    out.add(b"&state=");
}

fn write_basic<const N: usize>(out: &mut Bytes<N>) {
    let mut pair = Bytes::<128>::new();
    pair.add(black_box(data::CLIENT_ID.as_bytes()));
    pair.add(b":");
    pair.add(black_box(data::CLIENT_SECRET.as_bytes()));
    out.add(b"Basic ");
    out.base64(pair.get(), BASE64, true);
}

/// Where a character stands: by the standard library's own search, or by the memchr crate's.
#[inline]
fn find<const READY: bool>(wanted: char, text: &str) -> usize {
    let found = if READY { memchr::memchr(wanted as u8, text.as_bytes()) } else { text.find(wanted) };
    found.unwrap_or(text.len())
}

fn number(digits: &str) -> u64 {
    digits.bytes().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

impl<const READY: bool> Contestant for Floor<READY> {
    fn name(&self) -> &'static str {
        if READY { "floor-ready" } else { "floor" }
    }

    fn can(&self, item: Item) -> bool {
        !matches!(item, Item::Kernel | Item::RefreshIntent)
    }

    fn prepare(&mut self, item: Item) {
        match item {
            Item::Exchange => self.callback(),
            Item::Fresh
            | Item::RefreshRequest
            | Item::Refresh
            | Item::RecordWrite
            | Item::RecordRead
            | Item::Revoke => {
                self.callback();
                self.answer(data::NOW, |data| &data.first.body);
                self.write_record();
            }
            _ => {}
        }
    }

    fn run(&mut self, item: Item) {
        match item {
            Item::Nothing | Item::Kernel | Item::RefreshIntent => {}
            Item::Url => self.url(),
            Item::UrlSigned => self.url_signed(),
            Item::UrlPkce => self.url_pkce(),
            Item::Callback => self.callback(),
            Item::Exchange => self.exchange(),
            Item::RefreshRequest => self.refresh_request(),
            Item::Answer => self.answer(data::NOW, |data| &data.first.body),
            Item::AnswerOpenid => self.answer(data::NOW, |data| &data.openid.body),
            Item::Fresh => self.fresh(),
            Item::Connect => self.connect(),
            Item::Refresh => self.refresh(),
            Item::RecordWrite => self.write_record(),
            Item::RecordRead => self.read_record(),
            Item::Revoke => self.revoke(),
        }
    }

    fn seen(&mut self, _: Item) -> Seen {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let url = text(self.url.get());
        Seen {
            state_is_signed: is_signed(&url),
            url,
            code: text(self.code.get()),
            realm: text(self.realm.get()),
            authorization: text(self.authorization.get()),
            body: text(self.body.get()),
            access: text(self.tokens.access.get()),
            refresh: text(self.tokens.refresh.get()),
            access_until: self.tokens.access_until,
            refresh_until: self.tokens.refresh_until,
            header: text(self.header.get()),
            record: self.record.get().to_vec(),
        }
    }
}
