//! Who signed in, kept beside the grant (SCO-5): a row of its own for each grant whose ID token was verified.
//!
//! Not in the grant's record: that one is the core's, it is written anew at each refresh by whoever refreshes, and says nothing
//! about persons. A row is sealed like any other, in every store, so it survives a backup, an export and a change of keys;
//! and nobody who refreshes touches it.
//!
//! It says of which consent it speaks: by the generation, which every consent of a grant raises. So whoever replaces a grant,
//! here or in another process, has in the same write taken the validity of what is kept here, whatever crashes afterwards.

use evergrant::Session;
use evergrant_openid::Identity;
use evergrant_vault::{Claim, Loaded, Name, Removal, Write};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Driver, Grant, LEASE_SECONDS};
use crate::failure::{Exit, Failure, Result};

/// What the name of such a row begins with; the grant's follows.
pub(super) const PREFIX: &str = "user:";
/// The only version there is.
const VERSION: u32 = 1;

/// Who signed in, as it is stored. It names a person, so there is no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    #[serde(rename = "v")]
    version: u32,
    /// That of the grant.
    generation: u32,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// When the ID token was issued, Unix seconds.
    pub(crate) signed_in_at: u64,
}

impl Driver<'_> {
    /// Who consented to this very grant, where that was verified; never who consented to one before it.
    pub(crate) fn user(&self, grant: &Grant) -> Result<Option<User>> {
        let Some(loaded) = self.vault.load(&self.user_name(&grant.name)?)? else { return Ok(None) };
        let user = read(&loaded)?;
        Ok((user.generation == generation(&grant.session)).then_some(user))
    }

    /// Keeps who consented to this grant.
    pub(crate) fn keep_user(&self, grant: &Grant, identity: &Identity) -> Result<()> {
        let user = User {
            version: VERSION,
            generation: generation(&grant.session),
            issuer: identity.issuer.clone(),
            subject: identity.subject.clone(),
            signed_in_at: identity.issued_at.unix(),
        };
        let bytes = serde_json::to_vec(&user).map(Zeroizing::new);
        let bytes = bytes.map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
        let write = Write { record: &bytes, revision: user.generation, due_at: None, ends_at: None };
        let name = self.user_name(&grant.name)?;
        let (deadline, mut waiting) = (self.now().plus(LEASE_SECONDS), false);
        loop {
            let before = self.vault.load(&name)?;
            // A later consent is known already: nothing is taken back. What cannot be read is replaced.
            let newer = |loaded: &Loaded| read(loaded).is_ok_and(|kept| kept.generation > user.generation);
            if before.as_ref().is_some_and(newer) {
                return Ok(());
            }
            let expected = before.map(|loaded| loaded.generation);
            match self.vault.claim(self.now().unix(), &name, expected, LEASE_SECONDS, write)? {
                Claim::Claimed(lease) => return Ok(self.vault.release(&lease)?),
                Claim::Held { until } => self.wait_for_lease(until, deadline, &mut waiting)?,
                Claim::MovedOn(_) => {}
            }
        }
    }

    /// Forgets who consented to a grant. `false` where another process is writing just that.
    pub(crate) fn forget_user(&self, grant: &Name) -> Result<bool> {
        let name = self.user_name(grant)?;
        let Some(Loaded { record, generation, revision, due_at, .. }) = self.vault.load(&name)? else {
            return Ok(true);
        };
        let write = Write { record: record.expose(), revision, due_at, ends_at: None };
        match self.vault.claim(self.now().unix(), &name, Some(generation), LEASE_SECONDS, write)? {
            Claim::Claimed(lease) => Ok(matches!(self.vault.remove(&lease)?, Removal::Removed)),
            Claim::Held { .. } | Claim::MovedOn(_) => Ok(false),
        }
    }

    fn user_name(&self, grant: &Name) -> Result<Name> {
        self.name(&format!("{PREFIX}{}", grant.realm()))
    }
}

/// Which of the grants it is that the realm has had.
fn generation(session: &Session) -> u32 {
    session.phase().generation
}

fn read(loaded: &Loaded) -> Result<User> {
    let user = serde_json::from_slice::<User>(loaded.record.expose()).ok();
    // The parser's own words could quote the row.
    user.filter(|user| user.version == VERSION).ok_or_else(|| {
        Failure::new(
            Exit::Store,
            "what is stored of who signed in cannot be read: it is damaged, or a newer version's",
        )
        .or("run `evergrant connect` with the scope openid again, or use the newer version")
    })
}
