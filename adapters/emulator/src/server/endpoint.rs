//! The endpoints: HTTP in, the authority's verbs, HTTP out.

use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::plan::{Instead, Plan};
use super::reply::{Reply, timestamp, token_body};
use super::request::{Call, Parameters, Repeated, Route};
use super::sign::{LazyKey, SignError};
use super::{Consent, Shared, page};
use crate::authority::{
    ApiError, AuthorizeRequest, Callback, ClientAuth, Company, Consideration, Decision, Environment,
    IdClaims, TokenGrant, TokenRequest, Tokens,
};
use crate::fault::Endpoint;

/// Carries out a request. Nothing of it is undone if the answer is lost afterwards.
pub(super) async fn work(shared: &Arc<Shared>, call: &Call, plan: &Plan) -> Reply {
    match &call.route {
        Route::Authorize => authorize(shared, call, plan),
        Route::Token => token(shared, call, plan).await,
        Route::Revoke => revoke(shared, call),
        Route::Userinfo(environment) => userinfo(shared, call, *environment, plan),
        Route::Jwks => jwks(shared).await,
        Route::Discovery(environment) => discovery(shared, call, *environment),
        Route::Company(environment, realm, resource) => company(shared, call, *environment, realm, resource),
        Route::Control(_) | Route::Unknown => unknown(),
    }
}

fn unknown() -> Reply {
    Reply::new(
        404,
        "text/plain;charset=UTF-8",
        "No such address. GET /_emulator lists those that there are.\n",
    )
}

/// What is answered where the work is not done.
pub(super) fn instead(shared: &Shared, call: &Call, endpoint: Endpoint, instead: &Instead) -> Reply {
    let with_access_token = matches!(endpoint, Endpoint::Api | Endpoint::Userinfo);
    match instead {
        Instead::Html503 => Reply::html_503(),
        Instead::TooManyRequests { retry_after_seconds } => {
            Reply::too_many_requests(*retry_after_seconds, wants_xml(call))
        }
        Instead::InvalidGrant { .. } if with_access_token => {
            Reply::api_error(ApiError::TokenExpired, shared.clock.now(), wants_xml(call))
        }
        Instead::InvalidGrant { description } => {
            Reply::oauth_error(400, "invalid_grant", description.as_deref())
        }
    }
    .because("fault")
}

// ---- authorize ----

fn authorize(shared: &Arc<Shared>, call: &Call, plan: &Plan) -> Reply {
    match call.method {
        Method::GET => propose(shared, call, plan),
        Method::POST => decide(shared, &call.form, typed_decision(call), 303, call, plan),
        _ => Reply::method_not_allowed("GET, POST"),
    }
}

fn propose(shared: &Arc<Shared>, call: &Call, plan: &Plan) -> Reply {
    let consideration = shared.authority().consider(&authorize_request(&call.query));
    let proposal = match consideration {
        Err(error) => return Reply::html(400, page::refusal(error, call)).because(error.to_string()),
        Ok(Consideration::Refuse(refusal)) => return Reply::redirect(302, callback_url(&refusal)),
        Ok(Consideration::Ask(proposal)) => proposal,
    };
    if proposal.scopes.iter().any(|scope| scope == "openid") {
        shared.warm_key();
    }
    match shared.consent() {
        Consent::Page => Reply::html(200, page::consent(call, &proposal, &shared.options.companies)),
        Consent::Deny => decide(shared, &call.query, Decision::Deny, 302, call, plan),
        Consent::Auto => {
            let first = shared.options.companies.first().map_or("", String::as_str);
            let realm = call.query.first("emulator_realm").unwrap_or(first).to_owned();
            decide(shared, &call.query, Decision::Approve { realm }, 302, call, plan)
        }
    }
}

fn typed_decision(call: &Call) -> Decision {
    if call.form.first("decision") != Some("approve") {
        return Decision::Deny;
    }
    let realm = call.form.first("realm_typed").or_else(|| call.form.first("realm"));
    Decision::Approve { realm: realm.unwrap_or("").to_owned() }
}

fn decide(
    shared: &Arc<Shared>,
    parameters: &Parameters,
    decision: Decision,
    status: u16,
    call: &Call,
    plan: &Plan,
) -> Reply {
    let now = shared.clock.now();
    let decided = shared.authority().authorize(now, &authorize_request(parameters), decision);
    match decided {
        Err(error) => Reply::html(400, page::refusal(error, call)).because(error.to_string()),
        Ok(callback) => {
            let url = callback_url(&callback);
            let again = plan.callback_again_after_milliseconds.filter(|_| callback.code().is_some());
            let reply = Reply::redirect(status, url.clone());
            match again.map(|milliseconds| call_back_again(&url, milliseconds)) {
                Some(Err(why)) => reply.because(why),
                _ => reply,
            }
        }
    }
}

fn authorize_request(parameters: &Parameters) -> AuthorizeRequest {
    let text = |name| parameters.first(name).unwrap_or("").to_owned();
    AuthorizeRequest {
        client_id: text("client_id"),
        redirect_uri: text("redirect_uri"),
        response_type: text("response_type"),
        scope: text("scope"),
        state: parameters.first("state").map(Into::into),
        code_challenge: parameters.first("code_challenge").map(Into::into),
        code_challenge_method: parameters.first("code_challenge_method").map(Into::into),
    }
}

/// Everything but the unreserved characters of RFC 3986.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn callback_url(callback: &Callback) -> String {
    let mut url = callback.redirect_uri.clone();
    for (index, (name, value)) in callback.parameters().into_iter().enumerate() {
        url.push(if index == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        url.extend(utf8_percent_encode(value, QUERY));
    }
    url
}

/// Calls the redirect URI from here, as browsers and proxies do that deliver a callback twice.
fn call_back_again(url: &str, after_milliseconds: u64) -> Result<(), &'static str> {
    const ELSEWHERE: &str =
        "callback_twice: the redirect URI is not http://localhost, so it was not called again";
    let rest = url.strip_prefix("http://localhost").ok_or(ELSEWHERE)?;
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let port: u16 = match authority {
        "" => 80,
        _ => authority.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or(ELSEWHERE)?,
    };
    let slash = if target.starts_with('/') { "" } else { "/" };
    let request =
        format!("GET {slash}{target} HTTP/1.1\r\nhost: localhost:{port}\r\nconnection: close\r\n\r\n");
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(after_milliseconds)).await;
        // Whether somebody listens there is not this side's affair.
        let Ok(mut stream) = TcpStream::connect(("localhost", port)).await else { return };
        if stream.write_all(request.as_bytes()).await.is_ok() {
            let mut answer = Vec::new();
            let _ = stream.take(65_536).read_to_end(&mut answer).await;
        }
    });
    Ok(())
}

// ---- token ----

async fn token(shared: &Arc<Shared>, call: &Call, plan: &Plan) -> Reply {
    if call.method != Method::POST {
        return Reply::method_not_allowed("POST");
    }
    let request = match token_request(shared, call) {
        Ok(request) => request,
        Err(refusal) => return *refusal,
    };
    let now = shared.clock.now();
    let answer = shared.authority().token(now, &request);
    match answer {
        Err(error) => Reply::token_error(&error),
        Ok(tokens) => match id_token(shared, tokens.id_token.as_ref(), plan).await {
            Ok(id_token) => Reply::new(
                200,
                "application/json;charset=UTF-8",
                token_body(token_members(&tokens, id_token), &plan.odd),
            )
            .with("pragma", "no-cache"),
            Err(SignError(why)) => Reply::oauth_error(500, "server_error", Some(&why)),
        },
    }
}

/// Intuit's SDKs send ID and secret as they are, generic clients form-encode them (RFC 6749 section 2.3.1). For keys of
/// letters and digits, as Intuit's are, that is the same; for others both are taken.
fn client(shared: &Shared, call: &Call) -> ClientAuth {
    let plain = call.client();
    if shared.authority().recognises(&plain) { plain } else { call.decoded_client() }
}

fn token_request(shared: &Shared, call: &Call) -> Result<TokenRequest, Box<Reply>> {
    let invalid = |description: &str| Box::new(Reply::oauth_error(400, "invalid_request", Some(description)));
    let one =
        |name| call.form.one(name).map_err(|Repeated(name)| invalid(&format!("{name} comes more than once")));
    let required = |name: &'static str| {
        one(name)?.map(str::to_owned).ok_or_else(|| invalid(&format!("{name} is missing or empty")))
    };
    if !call.is_form() {
        return Err(invalid("the body must be application/x-www-form-urlencoded"));
    }
    let grant = match one("grant_type")? {
        Some("authorization_code") => TokenGrant::AuthorizationCode {
            code: required("code")?,
            redirect_uri: required("redirect_uri")?,
            code_verifier: one("code_verifier")?.map(Into::into),
        },
        Some("refresh_token") => TokenGrant::RefreshToken { refresh_token: required("refresh_token")? },
        Some(_) => return Err(Box::new(Reply::oauth_error(400, "unsupported_grant_type", None))),
        None => return Err(invalid("grant_type is missing or empty")),
    };
    let include_hard_expiry = call.header("x-include-refresh-token-hard-expires-in") == Some("true");
    Ok(TokenRequest { client: client(shared, call), grant, include_hard_expiry })
}

fn token_members(tokens: &Tokens, id_token: Option<String>) -> Vec<(&'static str, Value)> {
    let mut members = vec![
        ("x_refresh_token_expires_in", json!(tokens.refresh_token_expires_in)),
        ("refresh_token", json!(tokens.refresh_token)),
        ("access_token", json!(tokens.access_token)),
        ("token_type", json!("bearer")),
        ("expires_in", json!(tokens.expires_in)),
    ];
    if let Some(seconds) = tokens.refresh_token_hard_expires_in {
        members.push(("x_refresh_token_hard_expires_in", json!(seconds)));
    }
    if let Some(id_token) = id_token {
        members.push(("id_token", json!(id_token)));
    }
    members
}

async fn id_token(
    shared: &Shared,
    claims: Option<&IdClaims>,
    plan: &Plan,
) -> Result<Option<String>, SignError> {
    let (Some(claims), Some(key)) = (claims.cloned(), shared.keys().current()) else { return Ok(None) };
    let harm = plan.id_token;
    off_the_runtime(move || key.id_token(&claims, harm)).await
}

/// Making a key and signing take long; other requests must not wait for them.
async fn off_the_runtime<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, SignError> + Send + 'static,
) -> Result<T, SignError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => done,
        Err(error) => Err(SignError(error.to_string())),
    }
}

// ---- revoke ----

/// JSON or a form (wire-facts C10); 200 with an empty body, or 400.
fn revoke(shared: &Shared, call: &Call) -> Reply {
    if call.method != Method::POST {
        return Reply::method_not_allowed("POST");
    }
    let Ok(Some(token)) = call.form.one("token") else {
        let way_out = "send `token` once, as JSON {\"token\":\"…\"} or as a form, with its Content-Type";
        return Reply::oauth_error(400, "invalid_request", Some(way_out));
    };
    let (now, client) = (shared.clock.now(), client(shared, call));
    let revoked = shared.authority().revoke(now, &client, token);
    match revoked {
        Ok(()) => Reply::empty(200),
        Err(error) => Reply::token_error(&error),
    }
}

// ---- OpenID ----

fn userinfo(shared: &Shared, call: &Call, host: Environment, plan: &Plan) -> Reply {
    if call.method != Method::GET && call.method != Method::POST {
        return Reply::method_not_allowed("GET, POST");
    }
    let now = shared.clock.now();
    let known = shared.authority().userinfo(now, host, call.bearer().unwrap_or(""));
    match known {
        Err(error) => Reply::api_error(error, now, false),
        Ok(mut user) => {
            if plan.other_subject {
                user.sub = "00000000-0000-4000-8000-000000000bad".into();
            }
            Reply::json(200, &json!(user))
        }
    }
}

async fn jwks(shared: &Shared) -> Reply {
    let keys = shared.keys().all();
    let made =
        off_the_runtime(move || keys.iter().map(|key: &Arc<LazyKey>| key.public_jwk()).collect()).await;
    match made {
        Ok::<Vec<Value>, _>(keys) => Reply::json(200, &json!({ "keys": keys })),
        Err(SignError(why)) => Reply::oauth_error(500, "server_error", Some(&why)),
    }
}

/// The members of Intuit's two documents (wire-facts section 2); they differ in the userinfo endpoint only.
fn discovery(shared: &Shared, call: &Call, environment: Environment) -> Reply {
    if call.method != Method::GET {
        return Reply::method_not_allowed("GET");
    }
    shared.warm_key();
    let addresses = &shared.addresses;
    Reply::json(
        200,
        &json!({
            "issuer": addresses.issuer,
            "authorization_endpoint": addresses.authorize,
            "token_endpoint": addresses.token,
            "userinfo_endpoint": addresses.hosts(environment).userinfo,
            "revocation_endpoint": addresses.revoke,
            "jwks_uri": addresses.jwks,
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid", "email", "profile", "address", "phone"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "claims_supported": ["aud", "exp", "iat", "iss", "realmid", "sub"],
        }),
    )
}

// ---- the API ----

fn company(shared: &Shared, call: &Call, host: Environment, realm: &str, resource: &str) -> Reply {
    if call.method != Method::GET {
        return Reply::method_not_allowed("GET");
    }
    let now = shared.clock.now();
    let judged = shared.authority().api(now, host, call.bearer().unwrap_or(""), realm);
    match judged {
        Err(error) => Reply::api_error(error, now, wants_xml(call)),
        Ok(company) if resource.trim_end_matches('/') == format!("companyinfo/{realm}") => {
            company_info(&company, now, wants_xml(call))
        }
        Ok(_) => {
            let detail = "The emulator knows companyinfo only: GET /v3/company/{realm}/companyinfo/{realm}";
            let error = json!({ "Message": "Unsupported Operation", "Detail": detail, "code": "500" });
            let fault = json!({ "Error": [error], "type": "ValidationFault" });
            Reply::json(400, &json!({ "Fault": fault, "time": timestamp(now) }))
        }
    }
}

fn company_info(company: &Company, now: u64, as_xml: bool) -> Reply {
    let Company { realm, name } = company;
    if as_xml {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\
             <IntuitResponse xmlns=\"http://schema.intuit.com/finance/v3\" time=\"{}\">\
             <CompanyInfo domain=\"QBO\" sparse=\"false\"><Id>1</Id><SyncToken>0</SyncToken>\
             <CompanyName>{name}</CompanyName><LegalName>{name}</LegalName><Country>US</Country>\
             <NameValue><Name>RealmId</Name><Value>{realm}</Value></NameValue></CompanyInfo></IntuitResponse>",
            timestamp(now)
        );
        return Reply::new(200, "application/xml", body);
    }
    let info = json!({
        "CompanyName": name, "LegalName": name, "Country": "US",
        "CompanyAddr": { "Id": "1", "Line1": "1 Sample Street", "City": "Mountain View",
            "CountrySubDivisionCode": "CA", "PostalCode": "94043", "Country": "US" },
        "Email": { "Address": "books@example.com" }, "SupportedLanguages": "en", "FiscalYearStartMonth": "January",
        "NameValue": [{ "Name": "RealmId", "Value": realm }],
        "domain": "QBO", "sparse": false, "Id": "1", "SyncToken": "0",
        "MetaData": { "CreateTime": "2026-01-02T03:04:05Z", "LastUpdatedTime": "2026-01-02T03:04:05Z" },
    });
    Reply::json(200, &json!({ "CompanyInfo": info, "time": timestamp(now) }))
}

/// JSON unless the client asks for XML and not for JSON.
fn wants_xml(call: &Call) -> bool {
    let accept = call.header(header::ACCEPT.as_str()).unwrap_or("");
    accept.contains("xml") && !accept.contains("json")
}
