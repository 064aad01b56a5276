//! oauth2 connects and refreshes, its HTTP client a closure.

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::url::Url;
use oauth2::{
    AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, ExtraTokenFields, HttpRequest,
    HttpResponse, RedirectUrl, Scope, StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Extra {
    x_refresh_token_expires_in: u64,
}
impl ExtraTokenFields for Extra {}
type Tokens = StandardTokenResponse<Extra, BasicTokenType>;

#[derive(Serialize)]
struct Stored<'a> {
    access: &'a str,
    refresh: &'a str,
    realm: &'a str,
    access_until: u64,
    refresh_until: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, callback, first, second] = arguments.as_slice() else { return };
    if life(callback, first, second).is_err() {
        println!("refused");
    }
}

fn life(callback: &str, first: &str, second: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::<
        BasicErrorResponse,
        Tokens,
        BasicTokenIntrospectionResponse,
        StandardRevocableToken,
        BasicRevocationErrorResponse,
    >::new(ClientId::new("client".into()))
    .set_client_secret(ClientSecret::new("secret".into()))
    .set_auth_uri(AuthUrl::new("https://appcenter.intuit.com/connect/oauth2".into())?)
    .set_token_uri(TokenUrl::new("https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer".into())?)
    .set_redirect_uri(RedirectUrl::new("https://app.example.com/oauth/callback".into())?);
    let (url, ours) = client
        .authorize_url(|| CsrfToken::new("A".repeat(43)))
        .add_scope(Scope::new("com.intuit.quickbooks.accounting".into()))
        .add_scope(Scope::new("openid".into()))
        .url();
    println!("{url}");
    let url = Url::parse(&format!("https://app.example.com{callback}"))?;
    let find = |wanted: &str| {
        let found = url.query_pairs().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.into_owned()).ok_or("no such parameter")
    };
    if find("state")? != *ours.secret() {
        return Err("another state".into());
    }
    let realm = find("realmId")?;
    let code = AuthorizationCode::new(find("code")?);
    let tokens = client.exchange_code(code).request(&|request| send(request, first))?;
    let token = tokens.refresh_token().ok_or("no token")?;
    let tokens = client.exchange_refresh_token(token).request(&|request| send(request, second))?;
    let now = 1_800_003_600;
    let stored = Stored {
        access: tokens.access_token().secret(),
        refresh: tokens.refresh_token().ok_or("no token")?.secret(),
        realm: &realm,
        access_until: now + tokens.expires_in().map_or(0, |duration| duration.as_secs()),
        refresh_until: now + tokens.extra_fields().x_refresh_token_expires_in,
    };
    println!("{}", serde_json::to_string(&stored)?);
    Ok(())
}

fn send(request: HttpRequest, answer: &str) -> Result<HttpResponse, std::io::Error> {
    request.headers().iter().for_each(|(name, value)| println!("{name}: {}", value.to_str().unwrap_or("")));
    println!("{}", String::from_utf8_lossy(request.body()));
    Ok(HttpResponse::new(answer.as_bytes().to_vec()))
}
