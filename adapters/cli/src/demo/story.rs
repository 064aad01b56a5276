//! The story itself, a chapter a function.

use std::time::{Duration, Instant};

use evergrant::phase::{Grant as State, Rotation};
use evergrant::{Due, Input, Reason, Refused, Scopes, Tell};
use evergrant_emulator::authority::{CodeState, EndReason, GrantView, Policy, RefreshState};
use evergrant_emulator::fault::{Endpoint, Fault, Harm, InvalidGrant, When};
use evergrant_emulator::server::Consent;
use evergrant_ureq::{Client, Options};

use super::{Demo, browser};
use crate::commands;
use crate::config::open_vault;
use crate::connect::{self, Plan};
use crate::driver::{Driver, Grant};
use crate::failure::{Exit, Failure, Result};
use crate::journal::Journal;
use crate::loopback::Loopback;
use crate::output;

const HOUR: u32 = 3_600;
const DAY: u32 = 86_400;

/// A consent that was gone through.
struct Consented {
    grant: Result<Grant>,
    callback: String,
    page: String,
    /// The consent as another process had read it before its callback came.
    copy: Grant,
}

impl Demo<'_> {
    pub(super) fn tell(&mut self) -> Result<()> {
        let realm = self.a_company_connects()?;
        self.a_day_by_the_hour(&realm)?;
        self.the_value_stays(&realm)?;
        self.four_processes_at_once(&realm)?;
        self.an_answer_is_lost(&realm)?;
        self.an_outage(&realm)?;
        self.nobody_is_there(&realm)?;
        self.a_wider_consent(&realm)?;
        self.the_user_disconnects(&realm)?;
        self.the_app_revokes(&realm)?;
        self.nothing_leaked()
    }

    // ---- chapters ----

    fn a_company_connects(&mut self) -> Result<String> {
        let consented = self.consent(Scopes::ACCOUNTING, None)?;
        let grant = consented.grant?;
        let realm = grant.name.realm().to_owned();
        self.line("a company connects", &format!("realm {realm}, accounting"));
        self.keep(&grant);
        let believed = self.believed(0)?;
        let used = believed.code == CodeState::Used && believed.realm.as_deref() == Some(&*realm);
        self.check("RED-6", "the consent became a grant, at Intuit and here", used && believed.is_alive());
        let clean = consented.page.contains("Connected") && !consented.page.contains("code=");
        self.check("CSR-2", "the browser ends at an address without the code", clean);

        let mut stored = self.driver.load(&realm)?;
        let reply = commands::get(self.driver, &mut stored, &company(&realm))?;
        self.line("the API is read", &format!("companyinfo: {}", reply.status().unwrap_or_default()));
        self.check("REF-1", "what the vault holds opens the API", reply.status() == Some(200));

        self.the_callback_comes_again(consented.copy, &consented.callback)?;
        Ok(realm)
    }

    fn the_callback_comes_again(&mut self, mut copy: Grant, callback: &str) -> Result<()> {
        let plan = self.plan(Scopes::ACCOUNTING, None);
        let again = connect::take_callback(self.driver, &plan, &mut copy, callback);
        let refused = again.err().is_some_and(|failure| failure.what == Refused::CodeSpent.to_string());
        self.line("the same callback comes again", "refused here; the code is spent");
        let exchanges = self.seen(Endpoint::Exchange).len();
        let once = exchanges == 1 && self.believed(0)?.code == CodeState::Used;
        self.check("EXC-1", "no code is sent twice, by no process", refused && once);
        Ok(())
    }

    fn a_day_by_the_hour(&mut self, realm: &str) -> Result<()> {
        let before = self.seen(Endpoint::Refresh).len();
        let mut served = 0;
        for _ in 0..24 {
            self.pass(HOUR);
            served += u32::from(self.reads(realm)?);
        }
        let refreshes = self.seen(Endpoint::Refresh);
        let (count, good) =
            (refreshes.len() - before, refreshes.iter().all(|entry| entry.status == Some(200)));
        self.line(
            "a day passes, and is read every hour",
            &format!("{count} refreshes, each with a new value"),
        );
        self.check(
            "DUR-1",
            "an hour's token serves an hour, and a new one follows",
            served == 24 && count == 24,
        );
        self.check("DUR-4", "each refresh sent the newest refresh token", good && self.sent_newest()?);
        Ok(())
    }

    fn the_value_stays(&mut self, realm: &str) -> Result<()> {
        self.intuit.authority(|authority| authority.set_policy(Policy::STICKY));
        let chain = self.believed(0)?.chain.len();
        self.pass(HOUR);
        let mut grant = self.driver.load(realm)?;
        let told = commands::refresh_one(self.driver, &mut grant)?;
        self.keep(&grant);
        self.line("a refresh brings the same value", "neither an error nor a new token");
        let same = told.last() == Some(&Tell::Refreshed(Rotation::Same));
        let held = same && self.believed(0)?.chain.len() == chain && self.reads(realm)?;
        self.check("STA-5", "a value that stays is as good as one that changes", held);
        self.intuit.authority(|authority| authority.set_policy(Policy::GRACE));
        Ok(())
    }

    /// Each with a vault and a client of its own, as processes have.
    fn four_processes_at_once(&mut self, realm: &str) -> Result<()> {
        self.pass(HOUR);
        let before = self.seen(Endpoint::Refresh).len();
        let (driver, home) = (self.driver, self.home);
        let (app, intuit) = (driver.app, self.intuit);
        let one = || -> Result<bool> {
            let (vault, http) = (open_vault(home)?, Client::new(Options::default()));
            let clock = super::VirtualClock(intuit);
            let own = Driver {
                app,
                vault: &vault,
                http: &http,
                clock: &clock,
                journal: &Journal::none(),
                patience_seconds: 30,
            };
            let grant = commands::fresh(&own, realm)?;
            Ok(grant.session.access_token(own.now()).is_some())
        };
        let served = std::thread::scope(|scope| {
            let processes: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            processes
                .into_iter()
                .map(|process| process.join())
                .filter(|served| matches!(served, Ok(Ok(true))))
                .count()
        });
        let sent = self.seen(Endpoint::Refresh).len() - before;
        self.line("four programs want a token at once", &format!("{served} served, {sent} refresh"));
        self.check("REF-2", "one refresh at a time, however many ask", served == 4 && sent == 1);
        Ok(())
    }

    fn an_answer_is_lost(&mut self, realm: &str) -> Result<()> {
        self.pass(HOUR);
        let before = self.seen(Endpoint::Refresh).len();
        self.intuit.arm(Fault::once(Endpoint::Refresh, Harm::AnswerLostAfterWork));
        let reads = self.reads(realm)?;
        let refreshes = self.seen(Endpoint::Refresh);
        let tokens: Vec<_> =
            refreshes.iter().skip(before).filter_map(|entry| entry.parameters.get("refresh_token")).collect();
        let replayed = matches!(tokens.as_slice(), [first, second] if first == second);
        self.line("an answer is lost on its way back", "the same token once more, within its 24 hours");
        self.check("STA-4", "a lost answer does not cost the grant", reads && replayed);
        Ok(())
    }

    fn an_outage(&mut self, realm: &str) -> Result<()> {
        self.pass(HOUR);
        self.intuit.arm(Fault { at: Endpoint::Token, when: When::Next(2), harm: Harm::Html503 });
        let reads = self.reads(realm)?;
        self.line("503, twice", "no verdict: waited for, and tried again");
        self.check("REF-4", "a 503 says nothing of the grant", reads);

        self.pass(HOUR);
        let outage = Harm::InvalidGrant(InvalidGrant::default());
        self.intuit.arm(Fault { at: Endpoint::Token, when: When::ForVirtualSeconds(1_800), harm: outage });
        let refused = commands::fresh(self.driver, realm).err().map(|failure| failure.exit);
        let kept = self.state(realm)?;
        self.line("an outage: invalid_grant, to everybody", "suspect; the tokens are kept");
        self.pass(HOUR);
        let recovered = self.reads(realm)?;
        self.line("the outage is over", "the same token is good again");
        let suspect = refused == Some(Exit::NotNow) && matches!(kept, State::Suspect);
        self.check("REF-4", "one invalid_grant is evidence, not a verdict", suspect && recovered);
        Ok(())
    }

    fn nobody_is_there(&mut self, realm: &str) -> Result<()> {
        let mut grant = self.driver.load(realm)?;
        let now = self.driver.now();
        let end = grant.session.phase().usable().map_or(now, |held| held.rolling_end());
        let due = grant.session.due(self.driver.app);
        let ahead = matches!(due, Due::Tick(at) if at < end && at.plus(7 * DAY) < end);
        self.line(
            "nobody comes for a long time",
            &format!("renewal is due {} before the end", output::duration(u64::from(14 * DAY))),
        );
        self.pass(98 * DAY);
        self.driver.act(&mut grant, |_| Some(Input::Tick))?;
        self.keep(&grant);
        self.line("two days before its end it is renewed", "with nobody there");
        let current = self.believed(0)?.chain.last().map(|link| link.state);
        let longer = matches!(current, Some(RefreshState::Current { until }) if until > end.unix() + u64::from(90 * DAY));
        self.check("DUR-8", "it is due well ahead of its end, with no user present", ahead && longer);
        self.pass(30 * DAY);
        let reads = self.reads(realm)? && self.driver.now() > end;
        self.line("the first token would be dead by now", "the grant is not");
        self.check("DUR-7", "a grant in use does not die of age", reads);
        Ok(())
    }

    fn a_wider_consent(&mut self, realm: &str) -> Result<()> {
        let wider = Scopes::ACCOUNTING.with(Scopes::PAYMENT);
        let plan = self.plan(wider, Some(realm));
        let (slot, _) = connect::begin(self.driver, &plan)?;
        self.pass(HOUR / 2);
        self.pass(HOUR / 2);
        let works = self.reads(realm)?;
        self.line("a wider consent is pending", "the old grant is refreshed as ever");
        self.driver.remove(&slot.name)?;
        self.intuit.set_consent(Consent::Deny);
        let declined = self.consent(wider, Some(realm))?;
        self.intuit.set_consent(Consent::Auto);
        let lost_nothing =
            declined.grant.is_err() && declined.page.contains("Not connected") && self.reads(realm)?;
        self.line("the user declines", "nothing is lost");
        let narrow = self.driver.load(realm)?.session.scopes();
        let grant = self.consent(wider, Some(realm))?.grant?;
        self.keep(&grant);
        self.line("the user consents after all", "accounting and payment, new tokens");
        let scopes = grant.session.scopes();
        let believed = self.believed(1)?;
        let both = self.reads(realm)? && scopes == wider && believed.scopes.len() == 2 && believed.is_alive();
        self.check("SCO-4", "the old grant works while a wider consent is pending", works && lost_nothing);
        self.check(
            "SCO-3",
            "a scope is claimed once its own consent has named it",
            both && narrow == Scopes::ACCOUNTING,
        );
        Ok(())
    }

    fn the_user_disconnects(&mut self, realm: &str) -> Result<()> {
        self.pass(600);
        let ended = self.intuit.authority(|authority| authority.disconnect(self.driver.now().unix(), realm));
        self.line(
            "the user disconnects, inside QuickBooks",
            &format!("{ended} grants ended there; nobody tells us"),
        );
        let mut grant = self.driver.load(realm)?;
        let noticed = commands::get(self.driver, &mut grant, &company(realm)).is_err();
        let suspected = self.state(realm)?;
        self.line("the next 401 is looked into", "a refresh, refused; looked at again in a minute");
        self.pass(120);
        let failure = commands::fresh(self.driver, realm).err().map(|failure| failure.exit);
        let closed = matches!(self.state(realm)?, State::Closed { reason: Reason::Disconnected, .. });
        self.line("confirmed", "disconnected; the way out is a new consent");
        let in_steps = noticed && matches!(suspected, State::Suspect);
        self.check("REV-2", "a disconnect elsewhere is noticed, and confirmed", in_steps && closed);
        let no_token = self.driver.load(realm)?.session.access_token(self.driver.now()).is_none();
        self.check(
            "USE-3",
            "after the end no access token is handed out",
            no_token && failure == Some(Exit::ConsentNeeded),
        );
        Ok(())
    }

    fn the_app_revokes(&mut self, realm: &str) -> Result<()> {
        let mut grant = self.consent(Scopes::ACCOUNTING, Some(realm))?.grant?;
        self.keep(&grant);
        let alive = self.reads(realm)?;
        self.line("the company connects again", "a new grant in the same place");
        self.check("REV-3", "from the end a new consent leads on", alive);
        let name = grant.name.clone();
        commands::revoke(self.driver, &mut grant)?;
        self.line("the app revokes", "Intuit agrees");
        let last = self.intuit.authority(|authority| authority.grants(self.driver.now().unix())).pop();
        let ended = last.and_then(|view| view.end).map(|end| end.reason) == Some(EndReason::Revoked);
        self.check(
            "REV-1",
            "revoked here and there",
            ended && matches!(self.state(realm)?, State::Closed { reason: Reason::Revoked, .. }),
        );
        let before = self.intuit.log().len();
        self.pass(HOUR);
        let refused = commands::fresh(self.driver, realm).is_err();
        let mut stored = self.driver.load(name.realm())?;
        let _ = self.driver.act(&mut stored, |_| Some(Input::Tick))?;
        self.check(
            "REF-6",
            "a revoked token is never sent again",
            refused && self.intuit.log().len() == before,
        );
        Ok(())
    }

    /// I6, and the vault's seal: nothing that was said and no file has a token in it.
    fn nothing_leaked(&mut self) -> Result<()> {
        let mut files = Vec::new();
        collect(self.home, &mut files)?;
        let within = |bytes: &[u8]| {
            self.secrets
                .iter()
                .any(|secret| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
        };
        let leaked = within(self.said.as_bytes()) || files.iter().any(|bytes| within(bytes));
        let searched = self.secrets.len() > 50 && files.iter().map(Vec::len).sum::<usize>() > 4_096;
        self.check("I6", "no token in anything said, nor in any file", searched && !leaked);
        Ok(())
    }

    // ---- what the chapters share ----

    fn pass(&self, seconds: u32) {
        self.intuit.clock().advance(seconds.into());
    }

    fn plan<'p>(&self, scopes: Scopes, realm: Option<&'p str>) -> Plan<'p>
    where
        Self: 'p,
    {
        Plan { redirect_uri: self.redirect_uri, scopes, realm, name: "default" }
    }

    /// The whole way: stored, shown, consented to in a browser, taken in at the port.
    fn consent(&self, scopes: Scopes, realm: Option<&str>) -> Result<Consented> {
        let plan = self.plan(scopes, realm);
        let port = Loopback::listen(self.port, "/callback")?;
        let (slot, url) = connect::begin(self.driver, &plan)?;
        let gone = || Failure::new(Exit::Unexpected, "the consent that was stored just now is not there");
        let copy = self.driver.find(&slot.name)?.ok_or_else(gone)?;
        std::thread::scope(|scope| {
            let browser = scope.spawn(|| browser::consent(&url));
            let until = Instant::now() + Duration::from_secs(20);
            let grant = connect::by_port(self.driver, &plan, slot, &port, until);
            let seen =
                browser.join().map_err(|_| Failure::new(Exit::Unexpected, "the demo's browser broke"))?;
            let (callback, page) = seen?;
            Ok(Consented { grant, callback, page, copy })
        })
    }

    /// Whether the API is served, with whatever token is good now.
    fn reads(&mut self, realm: &str) -> Result<bool> {
        let mut grant = commands::fresh(self.driver, realm)?;
        self.keep(&grant);
        let reply = commands::get(self.driver, &mut grant, &company(realm))?;
        Ok(reply.status() == Some(200))
    }

    fn state(&self, realm: &str) -> Result<State> {
        Ok(self.driver.load(realm)?.session.phase().grant)
    }

    /// What Intuit believes of its n-th grant.
    fn believed(&self, index: usize) -> Result<GrantView> {
        let now = self.driver.now().unix();
        self.intuit
            .authority(|authority| authority.grant(now, index))
            .ok_or_else(|| Failure::new(Exit::Unexpected, "Intuit knows no such grant"))
    }

    /// Whether the refresh tokens that were sent are the chain's, each the newest of its time.
    fn sent_newest(&self) -> Result<bool> {
        let chain = self.believed(0)?.chain;
        let refreshes = self.seen(Endpoint::Refresh);
        let sent = refreshes.iter().filter_map(|entry| entry.parameters.get("refresh_token"));
        let in_order =
            sent.zip(&chain).all(|(shown, link)| shown.ends_with(&format!("#{}", link.fingerprint)));
        Ok(in_order && chain.len() == refreshes.len() + 1)
    }

    /// Remembers what must not be seen anywhere.
    fn keep(&mut self, grant: &Grant) {
        let stored = self.driver.vault.load(&grant.name).ok().flatten();
        let record = stored
            .and_then(|loaded| serde_json::from_slice::<serde_json::Value>(loaded.record.expose()).ok());
        // The record's members for the two tokens; the session shows no refresh token to anybody.
        for member in ["a", "t"] {
            let token = record.as_ref().and_then(|record| record.get(member)?.as_str());
            self.secrets.extend(token.filter(|token| token.len() > 16).map(ToOwned::to_owned));
        }
    }
}

fn company(realm: &str) -> String {
    commands::path("companyinfo/{realm}", realm)
}

fn collect(folder: &std::path::Path, into: &mut Vec<Vec<u8>>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else {
            into.push(std::fs::read(path)?);
        }
    }
    Ok(())
}
