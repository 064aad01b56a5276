//! The server as a client sees it: each endpoint and each fault, on the wire, over plain TCP.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use evergrant_emulator::authority::Policy;
use evergrant_emulator::fault::{
    CallbackTwice, ClockJump, Delay, Disconnect, Endpoint, Fault, Harm, IdTokenHarm, InvalidGrant, OddAnswer,
    Reset, RotateKey, TooManyRequests, When,
};
use evergrant_emulator::server::{ClockChoice, Consent, Issuer, Options, Running, Server, StartError};
use serde_json::{Value, json};

const START: u64 = 1_800_000_000;
const URI: &str = "http://localhost:8000/callback";
const REALM: &str = "9341453000000001";
const ACCOUNTING: &str = "com.intuit.quickbooks.accounting";
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
/// `client:secret`.
const BASIC: &str = "authorization: Basic Y2xpZW50OnNlY3JldA==\r\n";
const EXCHANGE_OR_REFRESH: &str = "/oauth2/v1/tokens/bearer";

fn options() -> Options {
    Options::new()
        .sandbox("client", "secret", &[URI])
        .consent(Consent::Auto)
        .clock(ClockChoice::Fixed(START))
        .policy(Policy::GRACE)
}

struct Client {
    running: Running,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().into())
    }
}

impl Client {
    fn start(options: Options) -> Self {
        Self { running: Server::start(options).unwrap() }
    }

    /// What really comes over the wire, to its end.
    fn raw(&self, method: &str, target: &str, headers: &str, body: &str) -> io::Result<Vec<u8>> {
        let address = self.running.addresses().base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address)?;
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}");
        stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn send(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        parse(&self.raw(method, target, headers, body).unwrap())
    }

    fn get(&self, target: &str) -> Answer {
        self.send("GET", target, "", "")
    }

    fn authorize(&self, scope: &str, more: &str) -> Answer {
        let scope = scope.replace(' ', "%20");
        let uri = "http%3A%2F%2Flocalhost%3A8000%2Fcallback";
        self.get(&format!(
            "/connect/oauth2?client_id=client&response_type=code&scope={scope}&redirect_uri={uri}&state=s%2F1{more}"
        ))
    }

    fn code(&self, scope: &str) -> String {
        parameter(&self.authorize(scope, "").headers["location"], "code")
    }

    fn token(&self, body: &str) -> Answer {
        self.send("POST", EXCHANGE_OR_REFRESH, &format!("{FORM}{BASIC}"), body)
    }

    fn exchange(&self, code: &str) -> Answer {
        self.token(&exchange_body(code))
    }

    fn connect(&self, scope: &str) -> Value {
        let answer = self.exchange(&self.code(scope));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    fn refresh(&self, tokens: &Value) -> Answer {
        self.token(&refresh_body(tokens))
    }

    fn company(&self, prefix: &str, realm: &str, tokens: &Value, more: &str) -> Answer {
        let target = format!("{prefix}/v3/company/{realm}/companyinfo/{realm}");
        self.send("GET", &target, &format!("{}{more}", bearer(tokens)), "")
    }

    fn control(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send(method, &format!("/_emulator/{path}"), "", body)
    }
}

fn exchange_body(code: &str) -> String {
    let encoded = code.replace('/', "%2F");
    format!(
        "grant_type=authorization_code&code={encoded}&redirect_uri=http%3A%2F%2Flocalhost%3A8000%2Fcallback"
    )
}

fn refresh_body(tokens: &Value) -> String {
    format!("grant_type=refresh_token&refresh_token={}", tokens["refresh_token"].as_str().unwrap())
}

fn bearer(tokens: &Value) -> String {
    format!("authorization: Bearer {}\r\n", tokens["access_token"].as_str().unwrap())
}

fn parse(answer: &[u8]) -> Answer {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.into()))
        .collect();
    Answer { status, headers, body: body.into() }
}

/// A parameter of a callback, decoded as far as these tests need it.
fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').unwrap().1;
    let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {name} in {url}")).replace("%2F", "/")
}

/// The parts of a JSON Web Token, the first two as JSON.
fn decode(token: &str) -> (Value, Value, String) {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let parts: Vec<&str> = token.split('.').collect();
    let json = |part: &str| serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap();
    (json(parts[0]), json(parts[1]), parts[2].into())
}

mod life {
    use super::*;

    #[test]
    fn connect_call_refresh_revoke() {
        let client = Client::start(options());
        let callback = client.authorize(ACCOUNTING, "");
        assert_eq!(callback.status, 302);
        let location = &callback.headers["location"];
        assert!(location.starts_with("http://localhost:8000/callback?code="));
        assert!(location.ends_with("&state=s%2F1&realmId=9341453000000001"));

        let answer = client.exchange(&parameter(location, "code"));
        assert_eq!(answer.headers["content-type"], "application/json;charset=UTF-8");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["date"], "Fri, 15 Jan 2027 08:00:00 GMT", "the emulator's own time");
        assert!(answer.headers.contains_key("intuit_tid"));
        let first = answer.json();
        assert_eq!(first["token_type"], "bearer");
        assert_eq!(first["expires_in"], 3_600);
        assert_eq!(first["x_refresh_token_expires_in"], 8_726_400);
        assert!(first.get("id_token").is_none() && first.get("x_refresh_token_hard_expires_in").is_none());

        assert_eq!(client.company("", REALM, &first, "").status, 200);
        let second = client.refresh(&first).json();
        assert_ne!(first["refresh_token"], second["refresh_token"]);
        let body = json!({ "token": second["refresh_token"] }).to_string();
        let revoke =
            |headers: &str, body: &str| client.send("POST", "/v2/oauth2/tokens/revoke", headers, body);
        let as_json = format!("{BASIC}content-type: application/json\r\n");
        let revoked = revoke(&as_json, &body);
        assert_eq!((revoked.status, revoked.body.as_str()), (200, ""));
        assert_eq!(revoke(&as_json, &body).status, 400);
        assert_eq!(client.refresh(&second).error(), (400, "invalid_grant".into()));
    }

    /// Wire-facts C10.
    #[test]
    fn revoke_as_a_form() {
        let client = Client::start(options());
        let tokens = client.connect(ACCOUNTING);
        let body = format!("token={}", tokens["access_token"].as_str().unwrap());
        let answer = client.send("POST", "/v2/oauth2/tokens/revoke", &format!("{BASIC}{FORM}"), &body);
        assert_eq!(answer.status, 200);
        assert_eq!(client.company("", REALM, &tokens, "").status, 401);
    }

    #[test]
    fn refusals_of_the_token_endpoint() {
        let client = Client::start(options());
        let tokens = client.connect(ACCOUNTING);
        let body = refresh_body(&tokens);
        let post =
            |headers: &str, body: &str| client.send("POST", EXCHANGE_OR_REFRESH, headers, body).error();
        let refused = |status: u16, error: &str| (status, error.to_owned());
        assert_eq!(post(FORM, &body), refused(401, "invalid_client"));
        let wrong = format!("{FORM}authorization: Basic Y2xpZW50Ondyb25n\r\n");
        assert_eq!(post(&wrong, &body), refused(401, "invalid_client"));
        let good = format!("{FORM}{BASIC}");
        assert_eq!(post(&good, &format!("{body}&client_id=client")), refused(401, "invalid_client"));
        assert_eq!(post(&good, &format!("{body}&refresh_token=x")), refused(400, "invalid_request"));
        assert_eq!(post(&good, "grant_type=refresh_token"), refused(400, "invalid_request"));
        assert_eq!(post(&good, "grant_type=password"), refused(400, "unsupported_grant_type"));
        assert_eq!(post(BASIC, &body), refused(400, "invalid_request"));
        let as_access =
            format!("grant_type=refresh_token&refresh_token={}", tokens["access_token"].as_str().unwrap());
        let answer = client.token(&as_access);
        assert_eq!(answer.json()["error_description"], "Incorrect Token type or clientID");
        assert_eq!(client.get(EXCHANGE_OR_REFRESH).status, 405);
        let hard = format!("{FORM}{BASIC}x-include-refresh-token-hard-expires-in: true\r\n");
        let answer = client.send("POST", EXCHANGE_OR_REFRESH, &hard, &body);
        assert_eq!(answer.json()["x_refresh_token_hard_expires_in"], 157_680_000);
    }

    /// RFC 6749 section 2.3.1: a generic client form-encodes ID and secret.
    #[test]
    fn a_form_encoded_secret() {
        use base64ct::{Base64, Encoding};
        let client = Client::start(Options::new().sandbox("an-id", "a+b%:c", &[URI]));
        for (pair, status) in [("an-id:a+b%:c", 400), ("an%2Did:a%2Bb%25%3Ac", 400), ("an-id:a b%:c", 401)] {
            let headers =
                format!("{FORM}authorization: Basic {}\r\n", Base64::encode_string(pair.as_bytes()));
            let answer = client.send(
                "POST",
                EXCHANGE_OR_REFRESH,
                &headers,
                "grant_type=refresh_token&refresh_token=x",
            );
            assert_eq!(answer.status, status, "{pair}");
        }
    }

    /// EXC-2 over the wire.
    #[test]
    fn a_code_twice() {
        let client = Client::start(options());
        let code = client.code(ACCOUNTING);
        let tokens = client.exchange(&code).json();
        assert_eq!(client.exchange(&code).error(), (400, "invalid_grant".into()));
        assert_eq!(client.refresh(&tokens).error(), (400, "invalid_grant".into()));
    }

    #[test]
    fn one_connection_many_requests() {
        let client = Client::start(options());
        let address = client.running.addresses().base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        for _ in 0..3 {
            let request =
                format!("GET /.well-known/openid_configuration HTTP/1.1\r\nhost: {address}\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut start = [0; 15];
            stream.read_exact(&mut start).unwrap();
            assert_eq!(&start, b"HTTP/1.1 200 OK");
            let mut rest = Vec::new();
            while !rest.ends_with(b"\"}") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                rest.push(byte[0]);
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_answers() {
        let life = |seed| {
            let client = Client::start(options().seed(seed));
            let tokens = client.connect(ACCOUNTING);
            client.refresh(&tokens).body
        };
        assert_eq!(life(5), life(5));
        assert_ne!(life(5), life(6));
    }

    #[test]
    fn it_stops_when_dropped() {
        let client = Client::start(options());
        let address = client.running.addresses().base.strip_prefix("http://").unwrap().to_owned();
        drop(client);
        assert!(TcpStream::connect(address).is_err());
    }
}

mod consent {
    use super::*;

    #[test]
    fn the_page_lists_scopes_and_companies_and_takes_the_answer() {
        let client = Client::start(options().consent(Consent::Page));
        let page = client.authorize(&format!("openid {ACCOUNTING}"), "");
        assert_eq!(page.status, 200);
        for expected in
            ["<code>openid</code>", ACCOUNTING, REALM, "value=\"deny\"", "value=\"s/1\"", "realm_typed"]
        {
            assert!(page.body.contains(expected), "{expected}");
        }
        let form = |more: &str| {
            let uri = "http%3A%2F%2Flocalhost%3A8000%2Fcallback";
            let body = format!(
                "client_id=client&response_type=code&scope={ACCOUNTING}&redirect_uri={uri}&state=s{more}"
            );
            client.send("POST", "/connect/oauth2", FORM, &body)
        };
        let chosen = form("&decision=approve&realm=9341453000000002&realm_typed=");
        assert_eq!(chosen.status, 303);
        assert_eq!(parameter(&chosen.headers["location"], "realmId"), "9341453000000002");
        let typed = form("&decision=approve&realm=9341453000000002&realm_typed=1234567890");
        assert_eq!(parameter(&typed.headers["location"], "realmId"), "1234567890");
        assert_eq!(form("&decision=approve&realm_typed=12").status, 400);
        assert_eq!(parameter(&form("&decision=deny").headers["location"], "error"), "access_denied");
    }

    #[test]
    fn denied_at_once_and_another_company() {
        let client = Client::start(options().consent(Consent::Deny));
        let location = client.authorize(ACCOUNTING, "").headers["location"].clone();
        assert_eq!(location, "http://localhost:8000/callback?error=access_denied&state=s%2F1");
        assert_eq!(client.control("POST", "consent", r#"{"consent":"auto"}"#).status, 200);
        let location = client.authorize(ACCOUNTING, "&emulator_realm=1234567890").headers["location"].clone();
        assert_eq!(parameter(&location, "realmId"), "1234567890");
        assert!(!client.authorize("openid", "").headers["location"].contains("realmId"));
        let location = client.authorize("nonsense", "").headers["location"].clone();
        assert_eq!(parameter(&location, "error"), "invalid_scope");
    }

    /// RED-1: never redirected; and what the page repeats is escaped.
    #[test]
    fn a_bad_redirect_uri_gets_a_page() {
        let client = Client::start(options());
        let target = "/connect/oauth2?client_id=client&response_type=code&scope=openid&state=s&redirect_uri=";
        let answer = client.get(&format!("{target}https%3A%2F%2Fevil.example%2F%3Cscript%3E"));
        assert_eq!(answer.status, 400);
        assert!(!answer.headers.contains_key("location"));
        assert!(answer.body.contains("https://evil.example/&lt;script&gt;"));
        assert!(!answer.body.contains("<script>"));
    }
}

mod api {
    use super::*;

    #[test]
    fn two_environments() {
        let both = options().production("production", "secret-2", &["https://app.example/cb"]);
        let client = Client::start(both);
        let tokens = client.connect(ACCOUNTING);
        assert_eq!(client.company("/sandbox", REALM, &tokens, "").status, 200);
        for wrong in ["/production", ""] {
            let answer = client.company(wrong, REALM, &tokens, "");
            assert_eq!(answer.status, 401);
            assert_eq!(answer.json()["fault"]["error"][0]["code"], "130");
        }
        let addresses = client.running.addresses();
        assert!(addresses.discovery.ends_with("/.well-known/openid_configuration"));
        let discovery = client.get("/.well-known/openid_sandbox_configuration").json();
        assert_eq!(discovery["userinfo_endpoint"], addresses.sandbox.userinfo);
        let discovery = client.get("/.well-known/openid_configuration").json();
        assert_eq!(discovery["userinfo_endpoint"], addresses.production.userinfo);
        assert_eq!(discovery["issuer"], "https://oauth.platform.intuit.com/op/v1");
    }

    #[test]
    fn intuits_bodies() {
        let client = Client::start(options());
        let tokens = client.connect(ACCOUNTING);
        let good = client.company("", REALM, &tokens, "accept: application/json\r\n").json();
        assert_eq!(good["CompanyInfo"]["CompanyName"], "Sample Company 0001");
        let xml = client.company("", REALM, &tokens, "accept: application/xml\r\n");
        assert_eq!(xml.headers["content-type"], "application/xml");
        assert!(xml.body.contains("<CompanyName>Sample Company 0001</CompanyName>"));
        let wrong = client.company("", "9341453000000002", &tokens, "");
        assert_eq!((wrong.status, &wrong.json()["Fault"]["Error"][0]["code"]), (403, &json!("3100")));
        client.running.clock().advance(3_600);
        let expired = client.company("", REALM, &tokens, "");
        assert_eq!((expired.status, &expired.json()["fault"]["error"][0]["code"]), (401, &json!("3200")));
        let xml = client.company("", REALM, &tokens, "accept: text/xml\r\n");
        assert!(xml.status == 401 && xml.body.contains("<Error code=\"3200\">"));
    }

    #[test]
    fn throttled() {
        let mut options = options();
        options.api_requests_per_minute = Some(2);
        let client = Client::start(options);
        let tokens = client.connect(ACCOUNTING);
        let status = || client.company("", REALM, &tokens, "").status;
        assert_eq!([status(), status(), status()], [200, 200, 429]);
        client.running.clock().advance(60);
        assert_eq!(status(), 200);
    }
}

mod faults {
    use super::*;

    /// The connection is closed without a byte; the authority did its work, or did not.
    #[test]
    fn answers_lost() {
        for (harm, worked) in [(Harm::AnswerLostAfterWork, true), (Harm::AnswerLostBeforeWork, false)] {
            let client = Client::start(options());
            let tokens = client.connect(ACCOUNTING);
            client.running.arm(Fault::once(Endpoint::Refresh, harm));
            let headers = format!("{FORM}{BASIC}");
            let raw = client.raw("POST", EXCHANGE_OR_REFRESH, &headers, &refresh_body(&tokens));
            assert_eq!(raw.unwrap(), b"");
            let grant = client.running.authority(|authority| authority.grant(START, 0)).unwrap();
            assert_eq!(grant.chain.len(), if worked { 2 } else { 1 });
            assert_eq!(client.refresh(&tokens).status, 200, "within the grace, or never used");
        }
    }

    #[test]
    fn resets() {
        for after_work in [false, true] {
            let client = Client::start(options());
            let tokens = client.connect(ACCOUNTING);
            client.running.arm(Fault::once(Endpoint::Token, Harm::Reset(Reset { after_work })));
            let headers = format!("{FORM}{BASIC}");
            let error =
                client.raw("POST", EXCHANGE_OR_REFRESH, &headers, &refresh_body(&tokens)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            let grant = client.running.authority(|authority| authority.grant(START, 0)).unwrap();
            assert_eq!(grant.chain.len(), 1 + usize::from(after_work));
        }
    }

    #[test]
    fn bodies() {
        let client = Client::start(options());
        let mut tokens = client.connect(ACCOUNTING);
        let mut with = |harm| {
            client.running.arm(Fault::once(Endpoint::Refresh, harm));
            let raw =
                client.raw("POST", EXCHANGE_OR_REFRESH, &format!("{FORM}{BASIC}"), &refresh_body(&tokens));
            let answer = parse(&raw.unwrap());
            tokens = client.refresh(&tokens).json();
            answer
        };
        let truncated = with(Harm::TruncatedBody);
        let promised: usize = truncated.headers["content-length"].parse().unwrap();
        assert_eq!((truncated.status, truncated.body.len()), (200, promised / 2));
        let empty = with(Harm::EmptyBody);
        assert_eq!((empty.status, empty.body.as_str()), (200, ""));
        let chunked = with(Harm::ChunkedBody);
        assert_eq!(chunked.headers["transfer-encoding"], "chunked");
        assert!(chunked.body.ends_with("\r\n0\r\n\r\n"), "{}", chunked.body);
    }

    /// Nothing is done, so the grant is as it was.
    #[test]
    fn stand_ins() {
        let client = Client::start(options().policy(Policy::HARD));
        let tokens = client.connect(ACCOUNTING);
        let with = |harm| {
            client.running.arm(Fault::once(Endpoint::Refresh, harm));
            client.refresh(&tokens)
        };
        let unavailable = with(Harm::Html503);
        assert_eq!(unavailable.status, 503);
        assert!(
            unavailable.headers["content-type"].starts_with("text/html")
                && unavailable.body.starts_with("<html>")
        );
        let slow_down = with(Harm::TooManyRequests(TooManyRequests { retry_after_seconds: Some(17) }));
        assert_eq!((slow_down.status, slow_down.headers["retry-after"].as_str()), (429, "17"));
        assert!(!with(Harm::TooManyRequests(TooManyRequests::default())).headers.contains_key("retry-after"));
        let description = Some("Token invalid".to_owned());
        let outage = with(Harm::InvalidGrant(InvalidGrant { description }));
        assert_eq!(outage.json(), json!({ "error": "invalid_grant", "error_description": "Token invalid" }));
        assert_eq!(client.refresh(&tokens).status, 200);
    }

    #[test]
    fn an_outage_over_virtual_time() {
        let client = Client::start(options());
        let tokens = client.connect(ACCOUNTING);
        let harm = Harm::InvalidGrant(InvalidGrant::default());
        client.running.arm(Fault { at: Endpoint::Token, when: When::ForVirtualSeconds(7_200), harm });
        assert_eq!(client.refresh(&tokens).status, 400);
        client.running.clock().advance(7_199);
        assert_eq!(client.refresh(&tokens).status, 400);
        client.running.clock().advance(1);
        assert_eq!(client.refresh(&tokens).status, 200);
    }

    #[test]
    fn delays() {
        for before_work in [false, true] {
            let client = Client::start(options());
            client
                .running
                .arm(Fault::once(Endpoint::Any, Harm::Delay(Delay { milliseconds: 60, before_work })));
            let began = Instant::now();
            assert_eq!(client.authorize(ACCOUNTING, "").status, 302);
            assert!(began.elapsed() >= Duration::from_millis(60));
        }
    }

    #[test]
    fn state_is_changed() {
        let client = Client::start(options());
        let tokens = client.connect(ACCOUNTING);
        client.running.arm(Fault::once(Endpoint::Api, Harm::ClockJump(ClockJump { seconds: 4_000 })));
        assert_eq!(client.company("", REALM, &tokens, "").status, 401);
        assert_eq!(client.running.clock().now(), START + 4_000);
        client.running.clock().advance(-4_000);
        client.running.arm(Fault::once(Endpoint::Api, Harm::Disconnect(Disconnect::default())));
        assert_eq!(client.company("", REALM, &tokens, "").status, 401);
        assert_eq!(client.refresh(&tokens).error(), (400, "invalid_grant".into()));
    }

    #[test]
    fn a_callback_twice() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://localhost:{}/callback", listener.local_addr().unwrap().port());
        let client = Client::start(
            Options::new()
                .sandbox("client", "secret", &[&uri])
                .consent(Consent::Auto)
                .clock(ClockChoice::Fixed(START)),
        );
        let harm = Harm::CallbackTwice(CallbackTwice { after_milliseconds: 1 });
        client.running.arm(Fault::once(Endpoint::Authorize, harm));
        let encoded = uri.replace(':', "%3A").replace('/', "%2F");
        let target = "/connect/oauth2?client_id=client&response_type=code&scope=openid&state=s&redirect_uri=";
        let location = client.get(&format!("{target}{encoded}")).headers["location"].clone();
        let (mut second, _) = listener.accept().unwrap();
        let mut request = [0; 4_096];
        let read = second.read(&mut request).unwrap();
        let line = String::from_utf8_lossy(&request[..read]).lines().next().unwrap().to_owned();
        assert_eq!(line, format!("GET {} HTTP/1.1", location.strip_prefix(&uri[..uri.len() - 9]).unwrap()));
    }

    #[test]
    fn odd_answers() {
        let client = Client::start(options());
        let mut newest = client.connect(ACCOUNTING);
        let mut odd = |odd: OddAnswer| {
            client.running.arm(Fault::once(Endpoint::Token, Harm::OddAnswer(odd)));
            let answer = client.refresh(&newest).json();
            newest = client.refresh(&newest).json();
            answer
        };
        assert_eq!(odd(OddAnswer::NumbersAsStrings)["expires_in"], "3600");
        assert!(odd(OddAnswer::WithoutExpiry).get("expires_in").is_none());
        assert_eq!(odd(OddAnswer::NegativeExpiry)["x_refresh_token_expires_in"], -1);
        assert!(odd(OddAnswer::AbsurdExpiry)["expires_in"].as_f64().unwrap() > 1e29);
        assert!(odd(OddAnswer::NullExpiry)["expires_in"].is_null());
        assert_eq!(odd(OddAnswer::FractionalExpiry)["expires_in"], 3600.5);
        assert!(odd(OddAnswer::WithoutRefreshToken).get("refresh_token").is_none());
        assert_eq!(odd(OddAnswer::EmptyRefreshToken)["refresh_token"], "");
        assert!(odd(OddAnswer::WithoutAccessToken).get("access_token").is_none());
        assert!(odd(OddAnswer::ExtraMembers)["something_new"].is_object());
        assert!(odd(OddAnswer::Reordered)["refresh_token"].is_string());
        assert!(odd(OddAnswer::Escaped)["refresh_token"].as_str().unwrap().starts_with("RT1-"));
    }

    /// By the seed: the same requests are struck, run after run.
    #[test]
    fn by_probability() {
        let run = || {
            let client = Client::start(options());
            let fault = Fault { at: Endpoint::Any, when: When::PerMillion(300_000), harm: Harm::Html503 };
            client.running.arm(fault);
            (0..40).map(|_| client.get("/.well-known/openid_configuration").status).collect::<Vec<_>>()
        };
        let statuses = run();
        assert_eq!(statuses, run());
        assert!(statuses.contains(&503) && statuses.contains(&200));
    }
}

mod openid {
    use super::*;

    const OPENID: &str = "openid email com.intuit.quickbooks.accounting";

    /// One server and one key for all: making a key is slow in a test build.
    #[test]
    fn id_tokens_good_and_bad() {
        let client = Client::start(options());
        let good = client.connect(OPENID);
        let (header, claims, _) = decode(good["id_token"].as_str().unwrap());
        assert_eq!(header["alg"], "RS256");
        let keys = client.get("/op/v1/jwks").json();
        assert_eq!(keys["keys"][0]["kid"], header["kid"]);
        assert_eq!(keys["keys"][0]["e"], "AQAB");
        assert_eq!(claims["aud"], json!(["client"]));
        assert_eq!(claims["exp"], START + 3_600);
        assert_eq!(claims["realmid"], REALM);
        assert_eq!(claims["iss"], "https://oauth.platform.intuit.com/op/v1");

        let bad = |harm| {
            client.running.arm(Fault::once(Endpoint::Token, Harm::IdToken(harm)));
            client.connect(OPENID)["id_token"].as_str().map(decode).unwrap()
        };
        assert_ne!(bad(IdTokenHarm::WrongAudience).1["aud"], json!(["client"]));
        assert_eq!(bad(IdTokenHarm::WrongIssuer).1["iss"], "https://issuer.example/op/v1");
        assert_eq!(bad(IdTokenHarm::Expired).1["exp"], START - 3_600);
        assert_ne!(bad(IdTokenHarm::WrongRealm).1["realmid"], REALM);
        assert_ne!(bad(IdTokenHarm::UnknownKey).0["kid"], header["kid"]);
        let (header, _, signature) = bad(IdTokenHarm::Unsigned);
        assert_eq!((header["alg"].as_str(), signature.as_str()), (Some("none"), ""));
        let (header, _, signature) = bad(IdTokenHarm::SymmetricWithPublicKey);
        assert_eq!((header["alg"].as_str(), signature.len()), (Some("HS256"), 43));
        assert_eq!(bad(IdTokenHarm::BrokenSignature).0["alg"], "RS256");
        client.running.arm(Fault::once(Endpoint::Token, Harm::IdToken(IdTokenHarm::Absent)));
        assert!(client.connect(OPENID).get("id_token").is_none());
        userinfo(&client, &good);
        rotation(&client);
    }

    fn userinfo(client: &Client, tokens: &Value) {
        let ask = |prefix: &str| {
            let target = format!("{prefix}/v1/openid_connect/userinfo");
            client.send("GET", &target, &bearer(tokens), "")
        };
        let user = ask("").json();
        assert_eq!((&user["emailVerified"], user.get("givenName")), (&json!(true), None));
        assert_eq!(ask("/production").status, 401);
        client.running.arm(Fault::once(Endpoint::Userinfo, Harm::UserinfoOfAnotherSubject));
        assert_ne!(ask("/sandbox").json()["sub"], user["sub"]);
        assert_eq!(client.get("/v1/openid_connect/userinfo").status, 401);
    }

    fn rotation(client: &Client) {
        client.running.arm(Fault::once(Endpoint::Jwks, Harm::RotateKey(RotateKey { keep_old: true })));
        let kids = |keys: Value| {
            keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect::<Vec<_>>()
        };
        let both = kids(client.get("/op/v1/jwks").json());
        assert_eq!(both.len(), 2);
        let (header, ..) = decode(client.connect(OPENID)["id_token"].as_str().unwrap());
        assert_eq!(header["kid"], both[1]);
        client.running.rotate_key(false);
        assert!(!kids(client.get("/op/v1/jwks").json()).contains(&both[1]));
    }

    #[test]
    fn an_issuer_of_its_own() {
        let mut options = options();
        options.issuer = Issuer::Own;
        let client = Client::start(options);
        let issuer = client.running.addresses().issuer.clone();
        let path = issuer.strip_prefix(&client.running.addresses().base).unwrap();
        let discovery = client.get(&format!("{path}/.well-known/openid-configuration")).json();
        assert_eq!(discovery["issuer"], issuer);
        assert_eq!(discovery["userinfo_endpoint"], client.running.addresses().sandbox.userinfo);
    }
}

mod control {
    use super::*;

    #[test]
    fn clock_faults_grants_log_disconnect() {
        let client = Client::start(options());
        assert_eq!(client.send("GET", "/_emulator", "", "").json()["base"], client.running.addresses().base);
        assert_eq!(client.control("GET", "clock", "").json()["now"], START);
        let moved = client.control("POST", "clock", r#"{"advance_seconds":60}"#).json();
        assert_eq!(moved, json!({ "now": START + 60, "offset_seconds": 60 }));
        assert_eq!(client.control("POST", "clock", r#"{"advance":60}"#).status, 400);

        let faults = r#"[{"at":"refresh","when":{"next":1},"harm":"html_503"},
                         {"at":"any","harm":{"too_many_requests":{}}}]"#;
        assert_eq!(client.control("POST", "faults", faults).json().as_array().unwrap().len(), 2);
        assert_eq!(client.authorize(ACCOUNTING, "").status, 429);
        assert_eq!(client.control("DELETE", "faults", "").json(), json!([]));
        assert_eq!(client.control("POST", "faults", r#"[{"at":"any","harm":"x"}]"#).status, 400);

        let tokens = client.connect(ACCOUNTING);
        client.refresh(&tokens);
        let grants = client.control("GET", "grants", "").json();
        assert_eq!(grants["grants"][0]["chain"][0]["stale"]["until"], START + 60 + 86_400);
        assert_eq!(grants["grants"][0]["code"], "used");
        let ended = client.control("POST", "disconnect", &json!({ "realm": REALM }).to_string()).json();
        assert_eq!(ended, json!({ "ended": 1 }));
        assert_eq!(client.control("POST", "policy", r#"{"policy":"hard"}"#).status, 200);
        assert_eq!(client.control("POST", "policy", r#"{"policy":"soft"}"#).status, 400);
        assert_eq!(client.control("GET", "nothing", "").status, 404);
        log(&client, &tokens);
    }

    fn log(client: &Client, tokens: &Value) {
        let text = client.control("GET", "log", "").body;
        for token in ["refresh_token", "access_token"] {
            assert!(!text.contains(tokens[token].as_str().unwrap()), "no secret in the log");
        }
        assert!(!text.contains("Y2xpZW50OnNlY3JldA") && text.contains("Basic client:…"));
        let log: Value = serde_json::from_str(&text).unwrap();
        let last = log.as_array().unwrap().last().unwrap();
        assert_eq!((&last["endpoint"], &last["status"]), (&json!("refresh"), &json!(200)));
        assert!(last["parameters"]["refresh_token"].as_str().unwrap().starts_with("RT1-…#"));
        assert_eq!(client.control("DELETE", "log", "").status, 204);
        assert!(client.running.log().is_empty());
    }

    /// The JSON that the documentation of `fault` shows, and each form of a harm.
    #[test]
    fn faults_as_json() {
        let documented = r#"[
            {"at": "refresh", "when": {"next": 1}, "harm": "answer_lost_after_work"},
            {"at": "token", "when": {"for_virtual_seconds": 3600}, "harm": {"invalid_grant": {}}},
            {"at": "any", "when": {"per_million": 20000}, "harm": {"delay": {"milliseconds": 300}}},
            {"at": "exchange", "when": {"nth": 2}, "harm": {"id_token": "wrong_audience"}}]"#;
        let parsed: Vec<Fault> = serde_json::from_str(documented).unwrap();
        assert_eq!(parsed[3].harm, Harm::IdToken(IdTokenHarm::WrongAudience));
        for harm in [
            json!("answer_lost_before_work"),
            json!("truncated_body"),
            json!("empty_body"),
            json!("chunked_body"),
            json!("html_503"),
            json!("userinfo_of_another_subject"),
            json!({ "reset": {} }),
            json!({ "too_many_requests": { "retry_after_seconds": 5 } }),
            json!({ "disconnect": { "realm": REALM } }),
            json!({ "callback_twice": {} }),
            json!({ "clock_jump": { "seconds": -5 } }),
            json!({ "odd_answer": "numbers_as_strings" }),
            json!({ "rotate_key": { "keep_old": false } }),
        ] {
            let fault: Fault = serde_json::from_value(json!({ "at": "any", "harm": harm })).unwrap();
            assert_eq!(fault.when, When::Always);
            assert_eq!(
                serde_json::from_str::<Fault>(&serde_json::to_string(&fault).unwrap()).unwrap(),
                fault
            );
        }
    }

    #[test]
    fn web_pages_may_not_drive_it() {
        let client = Client::start(options());
        let with =
            |headers| client.send("POST", "/_emulator/clock", headers, r#"{"advance_seconds":1}"#).status;
        assert_eq!(with("origin: https://page.example\r\n"), 403);
        assert_eq!(with("origin: null\r\n"), 403);
        assert_eq!(with("sec-fetch-site: cross-site\r\n"), 403);
        assert_eq!(client.running.clock().now(), START);
        let address = client.running.addresses().base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let rebound = "GET /_emulator/log HTTP/1.1\r\nhost: page.example\r\nconnection: close\r\n\r\n";
        stream.write_all(rebound.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(parse(&answer).status, 403);
    }

    #[test]
    fn loopback_only_unless_told_twice() {
        let mut options = options();
        options.listen = "0.0.0.0:0".parse().unwrap();
        for (first, second) in [(false, false), (true, false), (false, true)] {
            options.allow_beyond_loopback = first;
            options.anyone_may_control = second;
            let refused = Server::start(options.clone()).unwrap_err();
            assert!(matches!(refused, StartError::NotLoopback { .. }), "{refused}");
        }
        options.allow_beyond_loopback = true;
        let running = Server::start(options).unwrap();
        assert!(running.addresses().base.starts_with("http://127.0.0.1:"));
    }

    #[test]
    fn bad_options_are_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut options = options();
        options.listen = taken.local_addr().unwrap();
        assert!(matches!(Server::start(options).unwrap_err(), StartError::Listen { .. }));
        let refused = Server::start(Options::new().production("id", "secret", &[URI])).unwrap_err();
        assert!(refused.to_string().contains(URI), "{refused}");
        assert!(matches!(Server::start(Options::new()).unwrap_err(), StartError::Config(_)));
    }
}
