//! A run: episodes by the number, on as many fleets at once as there are processors to keep busy; and what is left of a loss when
//! every harm that it does not need is taken away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::book::Verdict;
use crate::episode::{Episode, Outcome};
use crate::fleet::{Fleet, Start};
use crate::script::Script;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How workers are started; each fleet gets a store of its own in or beside that of `start`.
    pub start: Start,
    /// The seed.
    pub seed: u64,
    /// It ends when the authority has judged so many refreshes.
    pub refreshes: u64,
    /// The number of the first episode.
    pub first: u64,
    /// Workers of a fleet.
    pub workers: usize,
    /// Grants in one store.
    pub grants: usize,
    /// Fleets at once.
    pub fleets: usize,
    /// At most so many losses are reduced.
    pub reductions: usize,
    /// A line every ten seconds.
    pub progress: bool,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The client.
    pub client: String,
    /// Grants in one store.
    pub together: usize,
    /// Grants.
    pub grants: u64,
    /// Refreshes that the authority judged.
    pub refreshes: u64,
    /// Of those, refused.
    pub refused: u64,
    /// Kills.
    pub kills: u64,
    /// Harms that struck.
    pub struck: u64,
    /// Consents that were given again.
    pub consents_again: u64,
    /// Access tokens handed out that the authority did not take.
    pub dead_handed_out: u64,
    /// Times that many refusals were taken for an outage.
    pub holds: u64,
    /// Grants, by what became of them.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Losses that another client would not have had, reduced as far as they could be.
    pub losses: Vec<Loss>,
    /// How long it took.
    pub took: Duration,
}

/// A loss that could have been avoided.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What became of it.
    pub verdict: Verdict,
    /// The episode, with the fewest harms with which it is still lost.
    pub script: Script,
    /// Whether it was lost again when it was run again. Kills between gates come at a real moment, and may miss it.
    pub again: bool,
    /// What happened, where it was not lost again.
    pub trace: Vec<String>,
}

impl Report {
    /// How many grants ended so.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).copied().unwrap_or(0)
    }

    /// Grants lost that could have been kept.
    pub fn faults(&self) -> u64 {
        self.verdicts.iter().filter(|(verdict, _)| verdict.is_fault()).map(|(_, count)| count).sum()
    }

    fn add(&mut self, outcome: &Outcome) {
        self.grants += outcome.verdicts.len() as u64;
        self.refreshes += outcome.refreshes;
        self.refused += outcome.refused;
        self.kills += outcome.kills;
        self.struck += outcome.struck;
        self.consents_again += outcome.consents.saturating_sub(outcome.verdicts.len() as u64);
        self.dead_handed_out += outcome.dead_handed_out;
        self.holds += outcome.holds;
        outcome.verdicts.iter().for_each(|verdict| *self.verdicts.entry(*verdict).or_default() += 1);
    }
}

/// A fleet with realms that nobody has used yet.
struct Lane {
    fleet: Fleet,
    realm: u64,
}

impl Lane {
    fn new(plan: &Plan, number: usize) -> Result<Self, String> {
        let mut start = plan.start.clone();
        start.schema = format!("{}_{number}", start.schema);
        start.folder = start.folder.join(number.to_string());
        let failed = |error| format!("{}: {error}", start.folder.display());
        std::fs::create_dir_all(&start.folder).map_err(failed)?;
        Ok(Self { fleet: Fleet::new(start, plan.workers)?, realm: number as u64 * 1_000_000_000 })
    }

    fn live(&mut self, script: &Script, traced: bool) -> Result<Outcome, String> {
        self.realm += 1;
        Episode::new(&mut self.fleet, script, self.realm, traced)?.run()
    }

    /// Leaves out one harm after the other, for as long as the grant is lost all the same.
    fn reduce(&mut self, script: &Script) -> Result<Loss, String> {
        let mut best = script.clone();
        let Some(mut verdict) = self.fails(&best)? else {
            return Ok(Loss { verdict: Verdict::Kept, script: best, again: false, trace: Vec::new() });
        };
        let mut next = 0;
        while next < best.harms.len() {
            let mut fewer = best.clone();
            fewer.harms.remove(next);
            match self.fails(&fewer)? {
                Some(still) => (best, verdict) = (fewer, still),
                None => next += 1,
            }
        }
        Ok(Loss { verdict, script: best, again: true, trace: Vec::new() })
    }

    /// What was done wrong, in one of three tries.
    fn fails(&mut self, script: &Script) -> Result<Option<Verdict>, String> {
        for _ in 0..3 {
            let verdict = self.live(script, false)?.verdict();
            if verdict.is_fault() {
                return Ok(Some(verdict));
            }
        }
        Ok(None)
    }
}

/// Runs one episode, and tells what happened. So many times, at most: it ends with the first in which the grant is lost that could
/// have been kept, for kills between gates come at a moment of their own each time.
///
/// # Errors
/// A worker cannot be started, ends by itself or hangs.
pub fn one(plan: &Plan, script: &Script, times: u64) -> Result<Outcome, String> {
    let mut lane = Lane::new(plan, 0)?;
    let mut outcome = lane.live(script, true)?;
    for _ in 1..times {
        if outcome.verdict().is_fault() {
            break;
        }
        outcome = lane.live(script, true)?;
    }
    Ok(outcome)
}

/// Runs episodes until the authority has judged as many refreshes as were asked for.
///
/// # Errors
/// A worker cannot be started, ends by itself or hangs.
pub fn all(plan: &Plan) -> Result<Report, String> {
    let began = Instant::now();
    let next = AtomicU64::new(plan.first);
    let shared = Mutex::new((
        Report { client: plan.start.client.clone(), together: plan.grants, ..Report::default() },
        Instant::now(),
    ));
    let lane = |number: usize| {
        let mut lane = Lane::new(plan, number)?;
        loop {
            let script =
                Script::new(plan.seed, next.fetch_add(1, Ordering::SeqCst), plan.workers, plan.grants);
            let outcome = lane
                .live(&script, false)
                .map_err(|why| format!("episode {} of seed {}: {why}", script.number, script.seed))?;
            let verdict = outcome.verdict();
            let (reduces, is_done) = {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                shared.0.add(&outcome);
                progress(plan, &mut shared, began);
                let reduces = verdict.is_fault() && shared.0.losses.len() < plan.reductions;
                (reduces, shared.0.refreshes >= plan.refreshes)
            };
            if reduces {
                let loss = lane.reduce(&script)?;
                let loss = if loss.again { loss } else { Loss { verdict, trace: outcome.trace, ..loss } };
                if plan.progress {
                    crate::report::note(&crate::report::loss(&plan.start.client, &loss));
                }
                shared.lock().unwrap_or_else(PoisonError::into_inner).0.losses.push(loss);
            }
            if is_done {
                return Ok::<(), String>(());
            }
        }
    };
    let done = std::thread::scope(|scope| {
        let lane = &lane;
        let lanes: Vec<_> = (0..plan.fleets.max(1)).map(|number| scope.spawn(move || lane(number))).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().unwrap_or_else(|_| Err("a fleet panicked".into())))
    });
    let (report, _) = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    let report = Report { took: began.elapsed(), ..report };
    match done {
        Ok(()) => Ok(report),
        // What was counted until then is not lost with it.
        Err(why) => Err(format!("{why}\n\n{}", crate::report::table(&[report]))),
    }
}

fn progress(plan: &Plan, (report, told): &mut (Report, Instant), began: Instant) {
    if plan.progress && told.elapsed() > Duration::from_secs(10) {
        *told = Instant::now();
        let rate = report.refreshes as f64 / began.elapsed().as_secs_f64();
        crate::report::note(&format!(
            "{}: {} refreshes, {} grants, {} lost that could have been kept, {rate:.0} refreshes a second",
            report.client,
            report.refreshes,
            report.grants,
            report.faults()
        ));
    }
}
