//! openidconnect connects and refreshes, its HTTP client a closure.

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreResponseType, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::url::Url;
use openidconnect::{
    AuthUrl, AuthenticationFlow, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EmptyAdditionalClaims, EndpointNotSet, ExtraTokenFields, HttpRequest, HttpResponse, IdTokenFields,
    IssuerUrl, JsonWebKeySet, Nonce, OAuth2TokenResponse, RedirectUrl, Scope, StandardErrorResponse,
    StandardTokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Extra {
    x_refresh_token_expires_in: u64,
}
impl ExtraTokenFields for Extra {}
type Fields = IdTokenFields<
    EmptyAdditionalClaims,
    Extra,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type Tokens = StandardTokenResponse<Fields, CoreTokenType>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, callback, first, second] = arguments.as_slice() else { return };
    if life(callback, first, second).is_err() {
        println!("refused");
    }
}

fn life(callback: &str, first: &str, second: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::<
        EmptyAdditionalClaims,
        CoreAuthDisplay,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJsonWebKey,
        CoreAuthPrompt,
        StandardErrorResponse<CoreErrorResponseType>,
        Tokens,
        CoreTokenIntrospectionResponse,
        CoreRevocableToken,
        CoreRevocationErrorResponse,
        EndpointNotSet,
        EndpointNotSet,
        EndpointNotSet,
        EndpointNotSet,
        EndpointNotSet,
        EndpointNotSet,
    >::new(
        ClientId::new("client".into()),
        IssuerUrl::new("https://oauth.platform.intuit.com/op/v1".into())?,
        JsonWebKeySet::new(Vec::new()),
    )
    .set_client_secret(ClientSecret::new("secret".into()))
    .set_auth_uri(AuthUrl::new("https://appcenter.intuit.com/connect/oauth2".into())?)
    .set_token_uri(TokenUrl::new("https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer".into())?)
    .set_redirect_uri(RedirectUrl::new("https://app.example.com/oauth/callback".into())?);
    let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
    let (url, ours, _) = client
        .authorize_url(flow, || CsrfToken::new("A".repeat(43)), || Nonce::new("N".repeat(43)))
        .add_scope(Scope::new("com.intuit.quickbooks.accounting".into()))
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
    println!("{realm} {}", serde_json::to_string(&tokens)?);
    Ok(())
}

fn send(request: HttpRequest, answer: &str) -> Result<HttpResponse, std::io::Error> {
    request.headers().iter().for_each(|(name, value)| println!("{name}: {}", value.to_str().unwrap_or("")));
    println!("{}", String::from_utf8_lossy(request.body()));
    Ok(HttpResponse::new(answer.as_bytes().to_vec()))
}
