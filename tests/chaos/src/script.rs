//! What an episode is made of, as data: a grant or several, when they are used, by whom, and what goes wrong. All of it follows from
//! a seed and a number, so an episode can be run again, and again with fewer harms.

use std::fmt;
use std::str::FromStr;

use evergrant_emulator::Rng;
use evergrant_emulator::authority::Policy;

/// A grant's life, and the harm done to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// The seed of the run.
    pub seed: u64,
    /// The number of the episode in it.
    pub number: u64,
    /// Grants that one store holds, and that are used together.
    pub grants: usize,
    /// What the authority does with refresh tokens.
    pub policy: &'static str,
    /// When access tokens are asked for, and of which worker. The first is the callback of the consent.
    pub steps: Vec<Step>,
    /// What goes wrong.
    pub harms: Vec<Harm>,
}

/// Somebody needs an access token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Seconds after the step before.
    pub after: u64,
    /// Of which worker. Where it is not to be had, of the next one that is.
    pub worker: usize,
}

/// A harm, and the step at which it strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Harm {
    /// The step.
    pub step: usize,
    /// What is done.
    pub kind: Kind,
}

/// What is done. A *gate* is a moment in a worker's operation at which the harness decides how it goes on: before and after each
/// verb of the store, when a request has arrived, and when its answer is ready. They are counted from 0 in each operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `kill -9` at that gate.
    Kill {
        /// The gate.
        gate: u32,
        /// 0: at the gate. More: so many microseconds after the worker was let through it, wherever it then is.
        micros: u64,
        /// Until somebody starts it again.
        down: u64,
        /// All other workers die with it.
        fleet: bool,
    },
    /// The process stands still at that gate: a slow store, a late answer, a stopped machine.
    Stall {
        /// The gate.
        gate: u32,
        /// For so long.
        seconds: u64,
        /// Another worker is asked for the same token meanwhile.
        race: bool,
    },
    /// From that gate on the store fails for every worker.
    StoreDown {
        /// The gate.
        gate: u32,
        /// For so long.
        seconds: u64,
        /// The first verb that fails is carried out all the same: only its answer is lost.
        done: bool,
    },
    /// The first request of the operation is not answered.
    AnswerLost {
        /// The work is done all the same.
        worked: bool,
    },
    /// Half of the answer to the first request comes.
    AnswerTorn,
    /// The authority answers no request as it should.
    Outage {
        /// For so long.
        seconds: u64,
        /// What it does instead.
        how: Outage,
    },
    /// The worker of this step cannot reach the authority.
    Cut {
        /// For so long.
        seconds: u64,
    },
    /// The clock of this step's worker is wrong from here on.
    Skew {
        /// By so much.
        seconds: i64,
    },
    /// The callback of the consent reaches a second worker when the first is at that gate.
    CallbackTwice {
        /// The gate.
        gate: u32,
    },
}

/// See [`Kind::Outage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// 400 `invalid_grant`, as Intuit does (REF-4).
    InvalidGrant,
    /// 503.
    Unavailable,
    /// Connections are closed.
    Closed,
}

/// The longest that answers may be `invalid_grant` in an outage. The core gives a grant up after ten refusals in some two days.
const REFUSING_MOST: u64 = 23 * 3_600;

impl Script {
    /// The episode of that number. `workers` is how many there are, `grants` how many of them are in the store.
    ///
    /// Several grants live through an outage besides, in which all of them are refused, and through harm that meets it.
    pub fn new(seed: u64, number: u64, workers: usize, grants: usize) -> Self {
        let mut rng = Rng::new(seed ^ (number + 1).wrapping_mul(0xD1B5_4A32_D192_ED03));
        let policy =
            ["grace", "grace", "grace", "grace", "sticky", "sticky", "sticky", "hard", "sticky-hard"]
                [rng.below(9) as usize];
        // From a busy connector to a monthly report.
        let pace = [3_700, 3_700, 3_700, 4 * 3_600, 25 * 3_600, 25 * 3_600, 75 * 3_600, 20 * 86_400]
            [rng.below(8) as usize];
        let steps: Vec<Step> = (0..31).map(|_| step(&mut rng, pace, workers)).collect();
        let mut harms: Vec<Harm> =
            (0..2 + rng.below(7)).map(|_| harm(&mut rng, steps.len(), grants)).collect();
        if rng.below(8) == 0 {
            harms.push(Harm { step: 0, kind: Kind::CallbackTwice { gate: rng.below(8) as u32 } });
        }
        if grants > 1 {
            harms.extend(refusals(&mut rng, steps.len(), grants));
        }
        harms.sort_by_key(|harm| harm.step);
        Self { seed, number, grants, policy, steps, harms }
    }

    /// What the authority does with refresh tokens.
    pub fn rotation(&self) -> Policy {
        Policy::named(self.policy).unwrap_or(Policy::GRACE)
    }

    /// The harms of a step.
    pub fn at(&self, step: usize) -> Vec<Kind> {
        self.harms.iter().filter(|harm| harm.step == step).map(|harm| harm.kind).collect()
    }

    /// The harms in one line, as `--harms` reads them.
    pub fn harms_text(&self) -> String {
        let texts: Vec<String> = self.harms.iter().map(ToString::to_string).collect();
        texts.join("; ")
    }

    /// The same with these harms.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn with_harms(mut self, text: &str) -> Result<Self, String> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        self.harms = parts.map(str::parse).collect::<Result<_, _>>()?;
        Ok(self)
    }
}

fn step(rng: &mut Rng, pace: u64, workers: usize) -> Step {
    let after = match rng.below(10) {
        0 => 1 + rng.below(120),
        _ => pace + rng.below(pace / 4),
    };
    Step { after, worker: rng.below(workers.max(1) as u64) as usize }
}

/// An outage that refuses everything, and two harms more at the step at which it begins or the one after it.
fn refusals(rng: &mut Rng, steps: usize, grants: usize) -> [Harm; 3] {
    let step = 1 + rng.below(steps as u64 - 2) as usize;
    let most = [1_200, 2 * 3_600, 8 * 3_600, REFUSING_MOST][rng.below(4) as usize];
    let outage = Kind::Outage { seconds: 60 + rng.below(most), how: Outage::InvalidGrant };
    let mut meets = || Harm { step: step + rng.below(2) as usize, ..harm(rng, steps, grants) };
    [Harm { step, kind: outage }, meets(), meets()]
}

fn harm(rng: &mut Rng, steps: usize, grants: usize) -> Harm {
    let gate = rng.below(9 * grants as u64) as u32;
    let kind = match rng.below(16) {
        0..=3 => Kind::Kill {
            gate,
            micros: if rng.below(2) == 0 { 0 } else { 1 + rng.below(400) },
            down: span(rng),
            fleet: rng.below(4) == 0,
        },
        4..=6 => Kind::Stall { gate, seconds: span(rng), race: rng.below(2) == 0 },
        7 | 8 => Kind::StoreDown { gate, seconds: span(rng), done: rng.below(2) == 0 },
        9 | 10 => Kind::AnswerLost { worked: rng.below(4) > 0 },
        11 => Kind::AnswerTorn,
        12 | 13 => {
            let how = [Outage::InvalidGrant, Outage::Unavailable, Outage::Closed][rng.below(3) as usize];
            let seconds = span(rng);
            let seconds = if how == Outage::InvalidGrant { seconds.min(REFUSING_MOST) } else { seconds };
            Kind::Outage { seconds, how }
        }
        14 => Kind::Cut { seconds: span(rng) },
        _ => Kind::Skew { seconds: skew(rng) },
    };
    Harm { step: 1 + rng.below(steps as u64 - 1) as usize, kind }
}

/// From a second to three days, mostly short.
fn span(rng: &mut Rng) -> u64 {
    let most = [5, 60, 60, 600, 600, 3_600, 6 * 3_600, 30 * 3_600, 72 * 3_600][rng.below(9) as usize];
    1 + rng.below(most)
}

fn skew(rng: &mut Rng) -> i64 {
    let most: i64 = [30, 30, 600, 7_200][rng.below(4) as usize];
    let by = 1 + rng.below(most as u64) as i64;
    if rng.below(2) == 0 { by } else { -by }
}

// ---------------------------------------------------------------------------------------------------------- as text

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.step, self.kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |on: bool, word: &'static str| if on { word } else { "" };
        match self {
            Self::Kill { gate, micros, down, fleet } => {
                write!(f, "kill {gate} {micros} {down}{}", flag(*fleet, " fleet"))
            }
            Self::Stall { gate, seconds, race } => {
                write!(f, "stall {gate} {seconds}{}", flag(*race, " race"))
            }
            Self::StoreDown { gate, seconds, done } => {
                write!(f, "store-down {gate} {seconds}{}", flag(*done, " done"))
            }
            Self::AnswerLost { worked } => write!(f, "answer-lost{}", flag(*worked, " worked")),
            Self::AnswerTorn => f.write_str("answer-torn"),
            Self::Outage { seconds, how: Outage::InvalidGrant } => write!(f, "invalid-grant {seconds}"),
            Self::Outage { seconds, how: Outage::Unavailable } => write!(f, "unavailable {seconds}"),
            Self::Outage { seconds, how: Outage::Closed } => write!(f, "closed {seconds}"),
            Self::Cut { seconds } => write!(f, "cut {seconds}"),
            Self::Skew { seconds } => write!(f, "skew {seconds}"),
            Self::CallbackTwice { gate } => write!(f, "callback-twice {gate}"),
        }
    }
}

/// The words of a harm, taken one after the other.
struct Words<'t>(std::str::SplitWhitespace<'t>, &'t str);

impl Words<'_> {
    fn number<T: FromStr>(&mut self) -> Result<T, String> {
        let word = self.0.next().unwrap_or_default();
        word.parse().map_err(|_| format!("a harm says `{}`, where {word:?} is no number", self.1))
    }

    fn flag(&mut self, name: &str) -> bool {
        self.0.next() == Some(name)
    }
}

impl FromStr for Harm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = Words(text.split_whitespace(), text);
        let step = words.number()?;
        let kind = match words.0.next().unwrap_or_default() {
            "kill" => Kind::Kill {
                gate: words.number()?,
                micros: words.number()?,
                down: words.number()?,
                fleet: words.flag("fleet"),
            },
            "stall" => {
                Kind::Stall { gate: words.number()?, seconds: words.number()?, race: words.flag("race") }
            }
            "store-down" => {
                Kind::StoreDown { gate: words.number()?, seconds: words.number()?, done: words.flag("done") }
            }
            "answer-lost" => Kind::AnswerLost { worked: words.flag("worked") },
            "answer-torn" => Kind::AnswerTorn,
            "invalid-grant" => Kind::Outage { seconds: words.number()?, how: Outage::InvalidGrant },
            "unavailable" => Kind::Outage { seconds: words.number()?, how: Outage::Unavailable },
            "closed" => Kind::Outage { seconds: words.number()?, how: Outage::Closed },
            "cut" => Kind::Cut { seconds: words.number()? },
            "skew" => Kind::Skew { seconds: words.number()? },
            "callback-twice" => Kind::CallbackTwice { gate: words.number()? },
            other => return Err(format!("there is no harm {other:?} (in `{text}`)")),
        };
        Ok(Self { step, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_episode_and_another_seed_another() {
        assert_eq!(Script::new(1, 7, 3, 1), Script::new(1, 7, 3, 1));
        assert_ne!(Script::new(1, 7, 3, 1), Script::new(1, 8, 3, 1));
        assert_ne!(Script::new(1, 7, 3, 1), Script::new(2, 7, 3, 1));
    }

    #[test]
    fn harms_are_read_back_as_they_were_written() {
        for number in 0..300 {
            let script = Script::new(3, number, 3, 1 + number as usize % 4);
            let again = script.clone().with_harms(&script.harms_text());
            assert_eq!(again, Ok(script));
        }
        assert!(Script::new(3, 0, 3, 1).with_harms("1 kill x 0 0").is_err());
    }
}
