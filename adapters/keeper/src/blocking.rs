//! The keeper for programs without a runtime.

use std::future::Future;
use std::sync::mpsc;

use tokio::runtime::{Builder as RuntimeBuilder, Runtime};

use crate::consent::{Consent, Linked};
use crate::error::{BuildError, Error};
use crate::keeper::{Builder, Keeper, StartError, Status};
use crate::memory::AccessToken;

/// A [`Keeper`] with a small runtime of its own; its methods block the thread that calls them.
#[derive(Debug)]
pub struct Blocking {
    keeper: Option<Keeper>,
    runtime: Option<Runtime>,
}

impl Blocking {
    /// Makes the runtime, and the keeper inside of it. `build` is given time to open its store there: it is a future.
    ///
    /// # Errors
    /// As [`Builder::start`], and what `build` returns.
    pub fn start<E: From<StartError>>(build: impl Future<Output = Result<Builder, E>>) -> Result<Self, E> {
        let system = |_| E::from(BuildError::System.into());
        let runtime = RuntimeBuilder::new_multi_thread()
            .worker_threads(2)
            .thread_name("evergrant-keeper")
            .enable_all()
            .build()
            .map_err(system)?;
        let keeper = runtime.block_on(async { Ok::<_, E>(build.await?.start()?) })?;
        Ok(Self { keeper: Some(keeper), runtime: Some(runtime) })
    }

    /// The keeper itself; `None` never, while this lives.
    #[must_use]
    pub fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// As [`Keeper::access_token`].
    ///
    /// # Errors
    /// The same.
    pub fn access_token(&self, realm: &str) -> Result<AccessToken, Error> {
        let realm = realm.to_owned();
        self.wait(|keeper| async move { keeper.access_token(&realm).await })
    }

    /// As [`Keeper::rejected`].
    ///
    /// # Errors
    /// The same.
    pub fn rejected(&self, realm: &str, token: &AccessToken) -> Result<AccessToken, Error> {
        let (realm, token) = (realm.to_owned(), token.clone());
        self.wait(|keeper| async move { keeper.rejected(&realm, &token).await })
    }

    /// As [`Keeper::connect`].
    ///
    /// # Errors
    /// The same.
    pub fn connect(&self, consent: &Consent<'_>) -> Result<String, Error> {
        self.keeper.as_ref().ok_or(Error::ShuttingDown)?.connect(consent)
    }

    /// As [`Keeper::callback`].
    ///
    /// # Errors
    /// The same.
    pub fn callback(&self, text: &str, binding: &[u8]) -> Result<Linked, Error> {
        let (text, binding) = (text.to_owned(), binding.to_vec());
        self.wait(|keeper| async move { keeper.callback(&text, &binding).await })
    }

    /// As [`Keeper::disconnected`].
    ///
    /// # Errors
    /// The same.
    pub fn disconnected(&self, realm: &str) -> Result<(), Error> {
        let realm = realm.to_owned();
        self.wait(|keeper| async move { keeper.disconnected(&realm).await })
    }

    /// As [`Keeper::revoke`].
    ///
    /// # Errors
    /// The same.
    pub fn revoke(&self, realm: &str) -> Result<(), Error> {
        let realm = realm.to_owned();
        self.wait(|keeper| async move { keeper.revoke(&realm).await })
    }

    /// As [`Keeper::status`].
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.keeper.as_ref().map(Keeper::status)
    }

    /// As [`Keeper::shutdown`]. Dropping this does the same.
    pub fn shutdown(&self) {
        // Its only failure is a runtime that is gone.
        let _ = self.wait(|keeper| async move {
            keeper.shutdown().await;
            Ok(())
        });
    }

    /// Waits in the caller's thread for a task of the runtime. Not `block_on`, which panics inside of another runtime.
    fn wait<T: Send + 'static, F>(&self, ask: impl FnOnce(Keeper) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (Some(keeper), Some(runtime)) = (&self.keeper, &self.runtime) else {
            return Err(Error::ShuttingDown);
        };
        let (sender, receiver) = mpsc::sync_channel(1);
        let asked = ask(keeper.clone());
        runtime.spawn(async move {
            let _ = sender.send(asked.await);
        });
        receiver.recv().unwrap_or(Err(Error::CutOff))
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        self.shutdown();
        drop(self.keeper.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
