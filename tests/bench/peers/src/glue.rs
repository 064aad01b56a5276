//! Glue: the url, serde_json and base64 crates put together by hand, as many teams do it. The strongest of the peers in
//! speed, for it checks next to nothing.

use std::hint::black_box;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bench::data::{self, Data};
use bench::signed;
use bench::{Contestant, Item, Seen};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;
use url::form_urlencoded;

use crate::stored::Stored;

#[derive(Debug, Default)]
pub(crate) struct Glue {
    data: Data,
    url: String,
    code: String,
    tokens: Stored<String>,
    authorization: String,
    body: String,
    header: String,
    record: Vec<u8>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    refresh_token: String,
    expires_in: u64,
    x_refresh_token_expires_in: u64,
    #[serde(default)]
    id_token: Option<String>,
}

impl Glue {
    fn url(&mut self, state: &str, more: &[(&str, &str)]) {
        let scope = data::SCOPES.join(" ");
        let same = [
            ("client_id", data::CLIENT_ID),
            ("response_type", "code"),
            ("scope", &scope),
            ("redirect_uri", data::REDIRECT),
            ("state", state),
        ];
        let url = Url::parse_with_params(data::AUTHORIZE, same.iter().chain(more));
        self.url = url.expect("the endpoint is a URL").into();
    }

    fn url_given(&mut self) {
        let state = black_box(self.data.state.clone());
        self.url(&state, &[]);
    }

    fn url_pkce(&mut self) {
        let state = black_box(self.data.state.clone());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(black_box(&self.data.verifier)));
        self.url(&state, &[("code_challenge", &challenge), ("code_challenge_method", "S256")]);
    }

    fn url_signed(&mut self) {
        let state = URL_SAFE_NO_PAD.encode(signed::state());
        self.url(&state, &[]);
    }

    fn callback(&mut self) {
        let (_, query) = black_box(self.data.callback.as_str()).split_once('?').expect("it has a query");
        let (mut code, mut state, mut realm) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "code" => code = Some(value),
                "state" => state = Some(value),
                "realmId" => realm = Some(value),
                _ => {}
            }
        }
        assert!(state.is_some_and(|state| state == self.data.state.as_str()));
        self.code = code.expect("it has a code").into_owned();
        self.tokens.realm = realm.expect("it has a realm").into_owned();
    }

    fn authorization(&mut self) {
        let pair = format!("{}:{}", black_box(data::CLIENT_ID), black_box(data::CLIENT_SECRET));
        self.authorization = format!("Basic {}", STANDARD.encode(pair));
    }

    fn exchange(&mut self) {
        self.authorization();
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("grant_type", "authorization_code");
        body.append_pair("code", &self.code);
        body.append_pair("redirect_uri", data::REDIRECT);
        self.body = body.finish();
    }

    fn refresh_request(&mut self) {
        self.authorization();
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("grant_type", "refresh_token");
        body.append_pair("refresh_token", &self.tokens.refresh);
        self.body = body.finish();
    }

    fn answer(&mut self, now: u64, body: fn(&Data) -> &str) {
        let answer: Answer =
            serde_json::from_slice(black_box(body(&self.data)).as_bytes()).expect("it is an answer");
        self.tokens.access = answer.access_token;
        self.tokens.refresh = answer.refresh_token;
        self.tokens.access_until = now + answer.expires_in;
        self.tokens.refresh_until = now + answer.x_refresh_token_expires_in;
        drop(answer.id_token);
    }

    fn fresh(&mut self) {
        assert!(black_box(data::NOW) < self.tokens.access_until);
        self.header = format!("Bearer {}", self.tokens.access);
    }

    fn write_record(&mut self) {
        self.record = serde_json::to_vec(&self.tokens).expect("it can be written");
    }

    fn read_record(&mut self) {
        self.tokens = serde_json::from_slice(&self.record).expect("it is a record");
    }

    fn revoke(&mut self) {
        self.authorization();
        self.body = serde_json::json!({ "token": self.tokens.refresh }).to_string();
        self.tokens = Stored::default();
    }

    pub(crate) fn connect(&mut self) {
        self.url_given();
        self.callback();
        self.exchange();
        self.answer(data::NOW, |data| &data.first.body);
    }

    pub(crate) fn refresh(&mut self) {
        assert!(black_box(data::LATER) >= self.tokens.access_until);
        self.refresh_request();
        self.answer(data::LATER, |data| &data.second.body);
        self.write_record();
    }
}

impl Contestant for Glue {
    fn name(&self) -> &'static str {
        "glue"
    }

    fn can(&self, item: Item) -> bool {
        !matches!(item, Item::Kernel | Item::RefreshIntent)
    }

    fn prepare(&mut self, item: Item) {
        // What an earlier round made is let go of here, and not in what is measured.
        let data = std::mem::take(&mut self.data);
        *self = Self { data, ..Self::default() };
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
                if item == Item::RecordRead {
                    self.write_record();
                }
            }
            _ => {}
        }
    }

    fn run(&mut self, item: Item) {
        match item {
            Item::Nothing | Item::Kernel | Item::RefreshIntent => {}
            Item::Url => self.url_given(),
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
        Seen {
            state_is_signed: signed::is_signed(&self.url),
            url: self.url.clone(),
            code: self.code.clone(),
            realm: self.tokens.realm.clone(),
            authorization: self.authorization.clone(),
            body: self.body.clone(),
            access: self.tokens.access.clone(),
            refresh: self.tokens.refresh.clone(),
            access_until: self.tokens.access_until,
            refresh_until: self.tokens.refresh_until,
            header: self.header.clone(),
            record: self.record.clone(),
        }
    }
}
