//! A tower layer: the token goes in, and a 401 is answered with one refresh and one repeat.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use evergrant::App;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use tower_layer::Layer;
use tower_service::Service;

use crate::error::Error;
use crate::keeper::Keeper;
use crate::memory::AccessToken;

/// Whose data a request is about: put it into the request's extensions. It does not leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForRealm(pub String);

/// Puts the realm's access token into each request to the provider's API, and nowhere else (USE-1).
///
/// A 401 is told to the [`Keeper`], and the request is repeated once with the token that follows from it, where its body can be
/// cloned. The API has not acted on a request that it answered with a 401, so the repeat does nothing twice.
///
/// ```
/// use evergrant_keeper::{ForRealm, Keeper, KeeperLayer};
/// use tower_layer::Layer;
///
/// fn with_token<S>(keeper: Keeper, http: S) -> impl Sized {
///     // Requests bring `ForRealm("9130…".into())` among their extensions.
///     KeeperLayer::<Vec<u8>>::new(keeper).layer(http)
/// }
/// ```
pub struct KeeperLayer<B> {
    keeper: Keeper,
    copy: fn(&B) -> Option<B>,
}

impl<B: Clone> KeeperLayer<B> {
    /// For bodies that can be cloned, such as bytes.
    #[must_use]
    pub fn new(keeper: Keeper) -> Self {
        Self::with_copy(keeper, |body| Some(body.clone()))
    }
}

impl<B> KeeperLayer<B> {
    /// For bodies of which `copy` says whether they can be cloned. Without a copy a 401 is told to the keeper and passed on.
    #[must_use]
    pub fn with_copy(keeper: Keeper, copy: fn(&B) -> Option<B>) -> Self {
        Self { keeper, copy }
    }
}

impl<B> Clone for KeeperLayer<B> {
    fn clone(&self) -> Self {
        Self { keeper: self.keeper.clone(), copy: self.copy }
    }
}

impl<B> fmt::Debug for KeeperLayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeeperLayer").finish_non_exhaustive()
    }
}

impl<S, B> Layer<S> for KeeperLayer<B> {
    type Service = KeeperService<S, B>;

    fn layer(&self, inner: S) -> Self::Service {
        KeeperService { inner, layer: self.clone() }
    }
}

/// The service that [`KeeperLayer`] makes.
#[derive(Debug)]
pub struct KeeperService<S, B> {
    inner: S,
    layer: KeeperLayer<B>,
}

impl<S: Clone, B> Clone for KeeperService<S, B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

/// Why there is no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum LayerError<E> {
    /// No token can be had.
    Keeper(Error),
    /// The request has no [`ForRealm`] among its extensions. It was not sent.
    NoRealm,
    /// The request goes elsewhere than to the provider's API, where a token has no business (USE-1). It was not sent.
    OtherHost,
    /// The service below.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for LayerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keeper(error) => error.fmt(f),
            Self::NoRealm => {
                f.write_str("the request does not say whose data it is about: give it the extension ForRealm")
            }
            Self::OtherHost => f.write_str(
                "the request goes elsewhere than to the provider's API: send it without this layer",
            ),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for LayerError<E> {}

impl<S, B, R> Service<Request<B>> for KeeperService<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
    R: Send,
{
    type Response = Response<R>;
    type Error = LayerError<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, LayerError<S::Error>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(LayerError::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that is ready goes; its clone is not.
        let clone = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        Box::pin(async move {
            let Some(ForRealm(realm)) = request.extensions().get().cloned() else {
                return Err(LayerError::NoRealm);
            };
            if !is_of_the_api(&layer.keeper.inner().app, request.uri()) {
                return Err(LayerError::OtherHost);
            }
            let token = layer.keeper.access_token(&realm).await.map_err(LayerError::Keeper)?;
            let copy = copied(&request, layer.copy);
            let answer = ready.call(with_token(request, &token)).await.map_err(LayerError::Inner)?;
            if answer.status() != StatusCode::UNAUTHORIZED {
                return Ok(answer);
            }
            match (layer.keeper.rejected(&realm, &token).await, copy) {
                (Ok(token), Some(copy)) => {
                    poll_fn(|context| ready.poll_ready(context)).await.map_err(LayerError::Inner)?;
                    ready.call(with_token(copy, &token)).await.map_err(LayerError::Inner)
                }
                // The answer that is there says more than an error would.
                _ => Ok(answer),
            }
        })
    }
}

fn copied<B>(request: &Request<B>, copy: fn(&B) -> Option<B>) -> Option<Request<B>> {
    let mut copied = Request::new(copy(request.body())?);
    copied.method_mut().clone_from(request.method());
    copied.uri_mut().clone_from(request.uri());
    *copied.version_mut() = request.version();
    copied.headers_mut().clone_from(request.headers());
    copied.extensions_mut().clone_from(request.extensions());
    Some(copied)
}

fn with_token<B>(mut request: Request<B>, token: &AccessToken) -> Request<B> {
    if let Ok(mut value) = HeaderValue::from_str(&token.authorization()) {
        // Not rendered, and not kept in any table of a layer below (I6).
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    request
}

/// The same scheme, host and port.
fn is_of_the_api(app: &App<'_>, uri: &Uri) -> bool {
    let Ok(api) = app.provider().api.parse::<Uri>() else { return false };
    uri.scheme().is_some() && uri.scheme() == api.scheme() && uri.authority() == api.authority()
}
