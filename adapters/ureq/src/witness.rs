//! Knows whether any byte of a request was handed to a connection.
//!
//! "It provably never left" cannot be read off an error: a reset looks alike before and after. So the outermost layer of
//! each connection, above TLS, notes the first byte. The handshake is complete before that layer exists.

use std::cell::Cell;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport,
};
use zeroize::Zeroize;

thread_local! {
    /// A blocking call lives on one thread from its beginning to its end, and so does what it sends.
    static LEFT: Cell<bool> = const { Cell::new(false) };
}

/// Forgets what was sent before.
pub(crate) fn begin() {
    LEFT.set(false);
}

/// Whether a byte may have left on this thread since [`begin`].
pub(crate) fn has_left() -> bool {
    LEFT.get()
}

/// The usual connections, each with a witness round it.
#[derive(Debug, Default)]
pub(crate) struct WitnessedConnector(DefaultConnector);

impl Connector<()> for WitnessedConnector {
    type Out = Witnessed;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Witnessed>, Error> {
        Ok(self.0.connect(details, chained)?.map(Witnessed))
    }
}

#[derive(Debug)]
pub(crate) struct Witnessed(Box<dyn Transport>);

impl Transport for Witnessed {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // Before, not after: a write that fails may have been carried out in part.
        LEFT.set(true);
        let sent = self.0.transmit_output(amount, timeout);
        // It held the client secret and a token (I6).
        if let Some(written) = self.0.buffers().output().get_mut(..amount) {
            written.zeroize();
        }
        sent
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.0.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
