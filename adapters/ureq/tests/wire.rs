//! What becomes of a request, told truthfully: the cases of every adapter.

use std::time::Duration;

use evergrant::Http;
use evergrant_ureq::{Client, Options, Reply};
use wire_cases::{Adapter, every_case};

#[derive(Debug)]
struct Ureq(Client);

impl Adapter for Ureq {
    const LIBRARY: &'static str = "ureq";
    // The manual says to keep it below `trace`.
    const DUMPS: &'static [&'static str] = &["ureq_proto::util"];

    fn new(connect: Duration, call: Duration) -> Self {
        let mut options = Options::default();
        (options.connect, options.call) = (connect, call);
        Self(Client::new(options))
    }

    fn carry_out(&self, http: &Http<'_>) -> Reply {
        self.0.carry_out(http)
    }

    fn read(&self, url: &str) -> Reply {
        self.0.read(url)
    }
}

every_case!(Ureq);
