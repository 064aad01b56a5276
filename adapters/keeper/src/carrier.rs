//! Who carries requests out.

use std::future::Future;
use std::pin::Pin;

use evergrant::Http;
use evergrant_reqwest::Client;
use evergrant_wire::Reply;

/// Sends one request, once, and says truthfully what became of it. [`evergrant_reqwest::Client`] is one; a test brings its own.
pub trait Carrier: Send + Sync + 'static {
    /// As [`Client::carry_out`]. Where the future is dropped, the keeper takes the request for sent and unanswered.
    fn carry_out<'a>(&'a self, http: &'a Http<'a>) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;
}

impl Carrier for Client {
    fn carry_out<'a>(&'a self, http: &'a Http<'a>) -> Pin<Box<dyn Future<Output = Reply> + Send + 'a>> {
        Box::pin(Self::carry_out(self, http))
    }
}
