//! The faults that struck a request, put together into one plan for its answer.

use crate::fault::{Harm, IdTokenHarm, OddAnswer};

/// What goes wrong with one request. Where two harms contradict each other, the later one counts.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) harms: Vec<Harm>,
    pub(super) delay_before_milliseconds: u64,
    pub(super) delay_after_milliseconds: u64,
    pub(super) loss: Option<Loss>,
    pub(super) instead: Option<Instead>,
    pub(super) body: BodyHarm,
    pub(super) odd: Vec<OddAnswer>,
    pub(super) id_token: Option<IdTokenHarm>,
    pub(super) other_subject: bool,
    pub(super) callback_again_after_milliseconds: Option<u64>,
}

/// The answer does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) after_work: bool,
    pub(super) reset: bool,
}

/// Something else is answered, and the work is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Instead {
    Html503,
    TooManyRequests { retry_after_seconds: Option<u64> },
    InvalidGrant { description: Option<String> },
}

/// What becomes of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum BodyHarm {
    #[default]
    None,
    Truncated,
    Empty,
    Chunked,
}

impl Plan {
    pub(super) fn new(harms: Vec<Harm>) -> Self {
        let mut plan = Self::default();
        for harm in &harms {
            plan.add(harm);
        }
        plan.harms = harms;
        plan
    }

    fn add(&mut self, harm: &Harm) {
        match harm {
            Harm::AnswerLostBeforeWork => self.loss = Some(Loss { after_work: false, reset: false }),
            Harm::AnswerLostAfterWork => self.loss = Some(Loss { after_work: true, reset: false }),
            Harm::Reset(reset) => self.loss = Some(Loss { after_work: reset.after_work, reset: true }),
            Harm::Delay(delay) if delay.before_work => self.delay_before_milliseconds += delay.milliseconds,
            Harm::Delay(delay) => self.delay_after_milliseconds += delay.milliseconds,
            Harm::TruncatedBody => self.body = BodyHarm::Truncated,
            Harm::EmptyBody => self.body = BodyHarm::Empty,
            Harm::ChunkedBody => self.body = BodyHarm::Chunked,
            Harm::Html503 => self.instead = Some(Instead::Html503),
            Harm::TooManyRequests(harm) => {
                self.instead =
                    Some(Instead::TooManyRequests { retry_after_seconds: harm.retry_after_seconds });
            }
            Harm::InvalidGrant(harm) => {
                self.instead = Some(Instead::InvalidGrant { description: harm.description.clone() });
            }
            Harm::CallbackTwice(harm) => {
                self.callback_again_after_milliseconds = Some(harm.after_milliseconds)
            }
            Harm::OddAnswer(odd) => self.odd.push(odd.clone()),
            Harm::IdToken(harm) => self.id_token = Some(*harm),
            Harm::UserinfoOfAnotherSubject => self.other_subject = true,
            // These change the emulator's state, not the answer: see `Shared::disturb`.
            Harm::Disconnect(_) | Harm::ClockJump(_) | Harm::RotateKey(_) => {}
        }
    }
}
