//! Consents under way, each in a slot of its own until its tokens are moved to their realm's row (SCO-4).
//!
//! Tokens are stored with the slot the moment they arrive. Whoever moves them holds the slot's lease meanwhile, and their
//! generation is above that of the grant that they replace. So after a crash anywhere in between, the next command can
//! tell whether they have been moved, and a slot that was left behind never takes the place of something newer (I5).

use evergrant::phase::Consent;
use evergrant::{Effects, Phase, Time};
use evergrant_vault::{Commit, Fingerprint, Lease, Name, Removal, Then};

use super::{Begun, Driver, Grant, LEASE_SECONDS, Rows, parse};
use crate::failure::{Exit, Failure, Result};
use crate::output;

/// What a slot's name begins with, where a grant's is its realm.
pub(super) const PREFIX: &str = "consent:";

impl Driver<'_> {
    /// A slot for a consent. Where the server has no companies, the grant's name to be goes with it.
    pub(crate) fn new_slot(&self, fingerprint: &str, grant_name: &str) -> Result<Grant> {
        let mut slot = self.begin(self.name(&format!("{PREFIX}{fingerprint}:{grant_name}"))?);
        for name in self.own_rows(Rows::Grants)? {
            if let Some(loaded) = self.vault.load(&name)? {
                let record = parse(&loaded)?;
                // Which company it will be is not known yet: above all of them. The consent's own store follows.
                let _ = slot.session.succeed(self.app, &record)?;
            }
        }
        Ok(slot)
    }

    /// The code of this callback is to be spent before it is sent.
    pub(crate) fn will_spend(&self, slot: &mut Grant, code: Fingerprint) {
        slot.code = Some(code);
    }

    /// Puts the tokens that a consent brought in their realm's row, and does away with the slot.
    pub(crate) fn move_in(&self, mut slot: Grant) -> Result<Grant> {
        let home = self.home_of(&slot)?;
        match self.take_slot(&mut slot)? {
            Some(lease) => self.move_under(slot, &lease, home),
            // Another process found the slot, and was faster.
            None => self.find(&home)?.ok_or_else(|| {
                Failure::new(Exit::Unexpected, "the consent was stored and is gone")
                    .or("look at `evergrant status`")
            }),
        }
    }

    /// Ends what an interrupted `connect` has left: tokens go to their realm, and what never came to anything goes away.
    pub(crate) fn sweep(&self) -> Result<()> {
        for name in self.own_rows(Rows::Consents)? {
            let Some(mut slot) = self.find(&name)? else { continue };
            let linked = slot.session.phase().usable().is_some();
            if !linked && self.now() < consent_end(slot.session.phase()) {
                continue;
            }
            // Not to be had: somebody is at it.
            let effects = as_it_is(&slot);
            let Begun::Claimed(lease) = self.take_lease(&mut slot, effects)? else { continue };
            let home = self.home_of(&slot)?;
            let generation = slot.session.phase().generation;
            let moved = self.find(&home)?.is_some_and(|grant| grant.session.phase().generation >= generation);
            if linked && !moved {
                let grant = self.move_under(slot, &lease, home)?;
                output::note(format_args!("finished an interrupted connect of {}", grant.name.realm()));
            } else {
                let _ = self.vault.remove(&lease)?;
            }
        }
        Ok(())
    }

    /// Does away with a row; `false` where somebody else is at work on it.
    pub(crate) fn remove(&self, name: &Name) -> Result<bool> {
        let Some(mut grant) = self.find(name)? else { return Ok(true) };
        let effects = as_it_is(&grant);
        match self.take_lease(&mut grant, effects)? {
            Begun::Claimed(lease) => Ok(matches!(self.vault.remove(&lease)?, Removal::Removed)),
            Begun::Held { .. } | Begun::MovedOn(_) => Ok(false),
        }
    }

    /// The row that the tokens of a consent belong in.
    fn home_of(&self, slot: &Grant) -> Result<Name> {
        match slot.session.realm() {
            "" => self.name(slot.name.realm().splitn(3, ':').nth(2).unwrap_or("default")),
            realm => self.name(realm),
        }
    }

    /// The lease of a slot; `None` where it is gone.
    fn take_slot(&self, slot: &mut Grant) -> Result<Option<Lease>> {
        let (deadline, mut waiting) = (self.now().plus(LEASE_SECONDS), false);
        loop {
            let effects = as_it_is(slot);
            let current = match self.take_lease(slot, effects)? {
                Begun::Claimed(lease) => return Ok(Some(lease)),
                Begun::Held { until } => {
                    self.wait_for_lease(until, deadline, &mut waiting)?;
                    self.vault.load(&slot.name)?
                }
                Begun::MovedOn(current) => current,
            };
            match current {
                None => return Ok(None),
                some => self.replace(slot, some)?,
            }
        }
    }

    /// Moves, with the slot's lease held.
    fn move_under(&self, slot: Grant, lease: &Lease, home: Name) -> Result<Grant> {
        let (deadline, mut waiting) = (self.now().plus(LEASE_SECONDS), false);
        let mut grant = Grant { name: home, generation: None, code: None, ..slot };
        loop {
            let before = self.vault.load(&grant.name)?;
            if let Some(loaded) = &before {
                let (record, own) = (parse(loaded)?, *grant.session.phase());
                // Another consent of the same company came in between.
                let outranked = record.generation() >= own.generation;
                if outranked || record.revision() >= own.revision {
                    let _ = grant.session.succeed(self.app, &record)?;
                    self.commit_slot(&grant, lease)?;
                }
            }
            grant.generation = before.map(|loaded| loaded.generation);
            let effects = as_it_is(&grant);
            match self.take_lease(&mut grant, effects)? {
                Begun::Claimed(home_lease) => {
                    self.vault.release(&home_lease)?;
                    self.saved(&mut grant, effects)?;
                    let _ = self.vault.remove(lease)?;
                    self.user_has_changed(&grant.name);
                    return Ok(grant);
                }
                Begun::Held { until } => self.wait_for_lease(until, deadline, &mut waiting)?,
                Begun::MovedOn(_) => {}
            }
        }
    }

    /// Who consented before is nobody's business now; that it does not count any more, the generation has seen to.
    fn user_has_changed(&self, grant: &Name) {
        if !matches!(self.forget_user(grant), Ok(true)) {
            output::warn(
                "who signed in before could not be wiped from the vault; it does not count any more",
            );
        }
    }

    /// The slot must have the generation under which its tokens are moved before they are.
    fn commit_slot(&self, grant: &Grant, lease: &Lease) -> Result<()> {
        let bytes = self.bytes(&grant.session)?;
        let then = Then::Hold { seconds: LEASE_SECONDS };
        match self.vault.commit(self.now().unix(), lease, self.write(&grant.session, &bytes), then)? {
            Commit::Committed { .. } => Ok(()),
            Commit::FencedOut(_) => Err(Failure::new(Exit::NotNow, "another process stores this consent")
                .or("look at `evergrant status`")),
        }
    }
}

/// The effects of a session that is to be stored as it stands.
pub(super) fn as_it_is(grant: &Grant) -> Effects {
    Effects { store: Some(grant.session.phase().revision), ..Effects::default() }
}

/// Until when a consent under way may still come to something.
fn consent_end(phase: &Phase) -> Time {
    match phase.consent {
        Consent::Pending { until } | Consent::Unsent { until, .. } | Consent::Exchanging { until, .. } => {
            until
        }
        Consent::None | Consent::Over { .. } => Time::UNSET,
    }
}
