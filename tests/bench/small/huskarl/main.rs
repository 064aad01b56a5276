//! huskarl connects and refreshes, its HTTP client an answer from memory.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use huskarl::core::client_auth::ClientSecret;
use huskarl::core::http::{HttpClient, HttpResponse, Idempotency};
use huskarl::core::platform::MaybeSendBoxFuture;
use huskarl::core::secrets::{ProvidedSecret, SecretString};
use huskarl::core::{EndpointUrl, Error};
use huskarl::grant::authorization_code::{AuthorizationCodeGrant, CompleteInput, StartInput};
use huskarl::grant::core::OAuth2ExchangeGrant;
use huskarl::grant::refresh::RefreshGrantParameters;

/// Answers every request alike.
struct Memory(String);

impl HttpClient for Memory {
    fn execute(
        &self,
        request: Request<Bytes>,
        _: Idempotency,
    ) -> MaybeSendBoxFuture<'_, Result<HttpResponse, Error>> {
        request
            .headers()
            .iter()
            .for_each(|(name, value)| println!("{name}: {}", value.to_str().unwrap_or("")));
        println!("{}", String::from_utf8_lossy(request.body()));
        let body = Bytes::copy_from_slice(self.0.as_bytes());
        Box::pin(async { Ok(HttpResponse { status: StatusCode::OK, headers: HeaderMap::new(), body }) })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, callback, first, _] = arguments.as_slice() else { return };
    let life = pin!(life(callback, first));
    let mut life = life;
    match life.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => {}
        Poll::Ready(Err(_)) | Poll::Pending => println!("refused"),
    }
}

async fn life(callback: &str, answer: &str) -> Result<(), Box<dyn std::error::Error>> {
    let secret = ProvidedSecret::new(SecretString::new("secret"));
    let grant = AuthorizationCodeGrant::builder()
        .authorization_endpoint("https://appcenter.intuit.com/connect/oauth2".parse::<EndpointUrl>()?)
        .token_endpoint("https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer".parse::<EndpointUrl>()?)
        .token_endpoint_auth_methods_supported(vec!["client_secret_basic".to_owned()])
        .client_id("client")
        .http_client(Memory(answer.to_owned()))
        .client_auth(ClientSecret::builder().client_secret(secret).prefer_basic_auth(true).build())
        .redirect_uri("https://app.example.com/oauth/callback")
        .oidc(false)
        .build()
        .await?;
    let scopes = vec!["com.intuit.quickbooks.accounting".to_owned()];
    let mut started = grant.start(StartInput::scope(scopes)).await?;
    println!("{}", started.authorization_url);
    started.pending_state.state = "A".repeat(43);
    let input: CompleteInput = callback.parse()?;
    let tokens = grant.complete(&started.pending_state, input).await?.token_response;
    let token = tokens.refresh_token().ok_or("no token")?.clone();
    let tokens = grant.to_refresh_grant().exchange(RefreshGrantParameters::refresh_token(token)).await?;
    println!("{}", serde_json::to_string(tokens.raw_token_response())?);
    Ok(())
}
