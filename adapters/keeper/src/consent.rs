//! From the user's consent to tokens in the store, in whichever process the browser comes back to.
//!
//! The `state` is signed (CSR-4), so nothing is stored until the callback comes. The code's fingerprint is spent in the store before the
//! exchange leaves (EXC-1, I1): of all processes that get the same callback one exchanges, and the others answer from its result.

use std::sync::Arc;
use std::time::Duration;

use evergrant::phase::{Consent as Under, Grant as State};
use evergrant::{
    Callback, CallbackError, Effects, Encoded, Input, Phase, Refused, Scopes, Signed, SignedAsk, Time,
    signed_url,
};
use evergrant_vault::{Fingerprint, Name, Spend};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::{Zeroize, Zeroizing};

use crate::error::Error;
use crate::inner::{Flight, Grant, Inner, lock, parse};
use crate::keeper::Keeper;
use crate::refresh::{Begun, carry_out, intend};
use crate::schedule::Urgency;

/// What a user is asked for.
#[derive(Clone, Copy)]
pub struct Consent<'a> {
    /// One of the app's redirect URIs, to the letter.
    pub redirect_uri: &'a str,
    /// The scopes; none are added (SCO-2).
    pub scopes: Scopes,
    /// What ties the consent to the user's browser, such as its session cookie: the callback must come with the same. Empty: anybody
    /// who was sent the link can finish it.
    pub binding: &'a [u8],
    /// The name that the grant gets where no company comes with it (OpenID scopes alone); it is not used otherwise.
    pub name: &'a str,
}

/// I6: the binding may be a cookie.
impl std::fmt::Debug for Consent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consent")
            .field("redirect_uri", &self.redirect_uri)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// What a callback led to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Linked {
    /// The company, or the consent's own name: what [`Keeper::access_token`] is asked with.
    pub realm: String,
    /// Whether this call made the exchange; otherwise it was made before, here or in another process.
    pub first: bool,
}

impl Keeper {
    /// The address to send the user's browser to. Stores nothing: the callback may come to any process with the same keys.
    ///
    /// # Errors
    /// [`Error::Core`]: the app has no key to sign with, the redirect URI is none of its own, no scope, or the name is longer than
    /// [`CARRY_MOST`](evergrant::consent::CARRY_MOST) bytes.
    pub fn connect(&self, consent: &Consent<'_>) -> Result<String, Error> {
        let inner = self.inner();
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| Error::CutOff)?;
        let ask = SignedAsk {
            redirect_uri: consent.redirect_uri,
            scopes: consent.scopes,
            random,
            carry: consent.name.as_bytes(),
            binding: consent.binding,
        };
        random.zeroize();
        let now = inner.now();
        let length = match signed_url(&inner.app, now, &ask, &mut []) {
            Err(evergrant::Error::TooLong(too_long)) if too_long.field == evergrant::Field::Buffer => {
                too_long.needed
            }
            other => other?.len(),
        };
        let mut buffer = vec![0; length];
        Ok(signed_url(&inner.app, now, &ask, &mut buffer)?.to_owned())
    }

    /// Takes the redirect: its query, or the whole address, with what the consent was bound to.
    ///
    /// The same callback may come any number of times, to any processes: its code is exchanged once, and every call is told the same
    /// (EXC-1). The exchange goes on if this future is dropped.
    ///
    /// # Errors
    /// [`Error::Core`]: the callback is none of ours, or too old; nothing has changed. [`Error::Declined`]. [`Error::ExchangeFailed`]:
    /// begin again. [`Error::Busy`], [`Error::Store`], [`Error::NotStored`]: the same callback may be handed in again.
    pub async fn callback(&self, text: &str, binding: &[u8]) -> Result<Linked, Error> {
        let inner = Arc::clone(self.inner());
        if inner.is_closing() {
            return Err(Error::ShuttingDown);
        }
        let (text, binding) = (Zeroizing::new(text.to_owned()), Zeroizing::new(binding.to_vec()));
        let (told, mut tells) = watch::channel(None);
        let task = self
            .inner()
            .tasks
            .spawn_on(async move { take(&inner, &text, &binding, &told).await }, &self.inner().runtime);
        let told = async move { tells.wait_for(Option::is_some).await.map(|told| told.clone()) };
        tokio::select! {
            // Where the store fails after the exchange, the caller is told, and the task goes on.
            Ok(Some(Err(error))) = told => Err(error),
            linked = task => linked.unwrap_or(Err(Error::CutOff)),
        }
    }
}

/// A callback that was found to be ours.
struct Ours<'t> {
    text: &'t str,
    binding: &'t [u8],
    realm: String,
    name: Name,
    made_at: Time,
    code: Option<Fingerprint>,
    deadline: Instant,
}

async fn take(inner: &Inner, text: &str, binding: &[u8], flight: &Flight) -> Result<Linked, Error> {
    let ours = prove(inner, text, binding)?;
    let mut spent = false;
    loop {
        let permit = inner.gate.enter(Urgency::Demanded).await;
        let mut grant = match inner.store.load(&ours.name).await? {
            Some(row) => Grant::of(inner, &row)?,
            None => Grant::new(inner),
        };
        let effects = match grant.session.handle(&inner.app, inner.now(), Input::Callback { text, binding }) {
            Ok(effects) => effects,
            Err(evergrant::Error::Refused(Refused::CodeSpent)) if !spent => {
                drop(permit);
                return match spend(inner, &ours).await? {
                    Spend::SpentBefore => answered(inner, &ours).await,
                    // This state was used with another code.
                    Spend::Fresh => Err(Error::Core(Refused::CodeSpent.into())),
                };
            }
            Err(error) => return Err(error.into()),
        };
        // Before the row says so, and before anything is sent: here, and for all processes.
        if effects.send.is_some() && !spent {
            if spend(inner, &ours).await? == Spend::SpentBefore {
                drop(permit);
                return answered(inner, &ours).await;
            }
            spent = true;
        }
        match intend(inner, &ours.realm, &ours.name, &mut grant, None).await? {
            Begun::Claimed(lease) => {
                let kept = carry_out(inner, &ours.realm, &mut grant, lease, effects, permit, flight).await?;
                return if effects.send.is_none() {
                    Err(Error::Declined)
                } else if kept {
                    finish(inner, &ours, grant, flight).await
                } else {
                    answered(inner, &ours).await.map(|linked| Linked { first: true, ..linked })
                };
            }
            Begun::Held { until } if Instant::now() >= ours.deadline => {
                return Err(Error::Busy { until: Time::from_unix(until) });
            }
            Begun::Held { .. } => {
                drop(permit);
                inner.pause(100).await;
            }
            Begun::MovedOn => {}
        }
    }
}

/// CSR-2, CSR-5: nothing is believed of a callback, and nothing looked up for it, before its `state` is found to be ours.
fn prove<'t>(inner: &Inner, text: &'t str, binding: &'t [u8]) -> Result<Ours<'t>, Error> {
    let callback = Callback::parse(text, inner.app.provider().realm_parameter)?;
    let bytes = |encoded: Encoded<'_>| Zeroizing::new(encoded.decode().collect::<Vec<u8>>());
    let state = bytes(callback.state.ok_or(CallbackError::NoState)?);
    let state = std::str::from_utf8(&state).map_err(|_| CallbackError::StateMismatch)?;
    let signed = Signed::open(&inner.app, state, binding)?;
    let realm = match callback.realm {
        Some(realm) => String::from_utf8(bytes(realm).to_vec()).map_err(|_| CallbackError::Realm)?,
        None => String::from_utf8(signed.carry().to_vec()).map_err(|_| CallbackError::Realm)?,
    };
    if realm.is_empty() {
        return Err(CallbackError::Realm.into());
    }
    Ok(Ours {
        text,
        binding,
        name: inner.name(&realm)?,
        realm,
        made_at: signed.made_at(),
        code: callback.code.map(|code| Sha256::digest(&*bytes(code)).into()),
        deadline: Instant::now() + Duration::from_secs(inner.options.patience_seconds.into()),
    })
}

async fn spend(inner: &Inner, ours: &Ours<'_>) -> Result<Spend, Error> {
    let Some(code) = &ours.code else { return Ok(Spend::Fresh) };
    let now = inner.now().unix();
    // Longer than the state is good for, with a day for clocks that differ.
    let keep_until = now + u64::from(inner.app.provider().policy.consent_for) + 86_400;
    Ok(inner.store.spend(now, code, keep_until).await?)
}

/// The exchange was answered, or never left: then it is tried again while its code is good. The code is in this process alone.
async fn finish(inner: &Inner, ours: &Ours<'_>, mut grant: Grant, flight: &Flight) -> Result<Linked, Error> {
    while let Under::Unsent { retry_at, .. } = grant.session.phase().consent {
        let seconds = retry_at.since(inner.now());
        let late = Instant::now() + Duration::from_secs(seconds.into()) >= ours.deadline;
        if late || inner.is_closing() || !inner.sleep(seconds).await {
            return Err(Error::ExchangeFailed { refused: false });
        }
        let permit = inner.gate.enter(Urgency::Demanded).await;
        let effects: Effects = grant.session.handle(&inner.app, inner.now(), Input::Tick)?;
        match intend(inner, &ours.realm, &ours.name, &mut grant, None).await? {
            Begun::Claimed(lease) => {
                if !carry_out(inner, &ours.realm, &mut grant, lease, effects, permit, flight).await? {
                    return answered(inner, ours).await;
                }
            }
            Begun::Held { .. } | Begun::MovedOn => return Err(Error::ExchangeFailed { refused: false }),
        }
    }
    if let Under::Over { refused, .. } = grant.session.phase().consent {
        return Err(Error::ExchangeFailed { refused });
    }
    lock(&inner.quiet).remove(&ours.realm);
    inner.memory.forget(&ours.realm);
    inner.publish(&ours.realm, &grant.session, grant.generation.unwrap_or_default());
    inner.news.notify_waiters();
    Ok(Linked { realm: ours.realm.clone(), first: true })
}

/// Somebody else has spent the code: what became of it stands in the row, or soon will.
async fn answered(inner: &Inner, ours: &Ours<'_>) -> Result<Linked, Error> {
    debug_assert!(!ours.text.is_empty() || ours.binding.is_empty());
    loop {
        let row = inner.store.load(&ours.name).await?;
        let record = row.as_ref().map(|row| parse(row.record.expose())).transpose()?;
        match result(record.as_ref().map(evergrant::Record::phase), ours.made_at) {
            Some(Ok(())) => return Ok(Linked { realm: ours.realm.clone(), first: false }),
            Some(Err(refused)) => return Err(Error::ExchangeFailed { refused }),
            None if Instant::now() >= ours.deadline => return Err(Error::ExchangeFailed { refused: false }),
            None if inner.is_closing() => return Err(Error::ShuttingDown),
            None => inner.pause(100).await,
        }
    }
}

/// What a row says of the exchange whose state was made at that moment; `None`: nothing yet. `Err`: whether it was refused.
fn result(phase: Option<&Phase>, made_at: Time) -> Option<Result<(), bool>> {
    let phase = phase?;
    if phase.consumed < made_at {
        return None;
    }
    let linked =
        matches!(phase.grant, State::Linked | State::Refreshing { .. } | State::Uncertain | State::Suspect);
    match phase.consent {
        Under::Exchanging { .. } | Under::Unsent { .. } if phase.consumed == made_at => None,
        Under::Over { refused, .. } if phase.consumed == made_at => Some(Err(refused)),
        _ if linked => Some(Ok(())),
        _ => Some(Err(false)),
    }
}
