//! How many refreshes may be under way at once: more while they succeed, half as many where the authority is overloaded. Pure.

/// Bounds of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Never fewer than this (at least 1).
    pub least: u32,
    /// Where it begins.
    pub first: u32,
    /// Never more than this.
    pub most: u32,
}

impl Default for Bounds {
    /// 1, 8, 64.
    fn default() -> Self {
        Self { least: 1, first: 8, most: 64 }
    }
}

/// What a request says of the authority's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Load {
    /// Answered, tokens or a verdict: there is room.
    Fine,
    /// 429, 5xx, or no answer in time: too much.
    Over,
    /// It says nothing of it: never sent, or given up here.
    Unknown,
}

/// Additive increase, multiplicative decrease (RFC 5681 §3.1 is the model): one more for each whole round of successes, half as many
/// at the first sign of overload, and once only for all that was under way at that moment.
#[derive(Clone, Debug)]
pub struct Limit {
    bounds: Bounds,
    /// In thousandths, so that a part of a request can be added.
    thousandths: u64,
    under_way: u32,
    /// Rises with each decrease: what began before it says nothing new.
    round: u64,
}

/// A request that counts against the limit.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    round: u64,
}

impl Limit {
    /// A limit that begins at `bounds.first`.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let least = bounds.least.max(1);
        let bounds = Bounds {
            least,
            most: bounds.most.max(least),
            first: bounds.first.clamp(least, bounds.most.max(least)),
        };
        Self { bounds, thousandths: u64::from(bounds.first) * 1_000, under_way: 0, round: 0 }
    }

    /// How many may be under way.
    #[must_use]
    pub fn at_once(&self) -> u32 {
        u32::try_from(self.thousandths / 1_000).unwrap_or(u32::MAX)
    }

    /// How many are under way.
    #[must_use]
    pub const fn under_way(&self) -> u32 {
        self.under_way
    }

    /// Begins one, where there is room.
    pub fn begin(&mut self) -> Option<Ticket> {
        if self.under_way >= self.at_once() {
            return None;
        }
        self.under_way += 1;
        Some(Ticket { round: self.round })
    }

    /// One has ended.
    pub fn end(&mut self, ticket: Ticket, load: Load) {
        // Room that was not used proves nothing.
        let was_full = self.under_way.saturating_mul(2) >= self.at_once();
        self.under_way = self.under_way.saturating_sub(1);
        let (least, most) = (u64::from(self.bounds.least) * 1_000, u64::from(self.bounds.most) * 1_000);
        match load {
            Load::Fine if was_full => {
                let step = 1_000_000 / self.thousandths.max(1_000);
                self.thousandths = self.thousandths.saturating_add(step).min(most);
            }
            Load::Over if ticket.round == self.round => {
                self.thousandths = (self.thousandths / 2).max(least);
                self.round += 1;
            }
            Load::Fine | Load::Over | Load::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(limit: &mut Limit) -> Vec<Ticket> {
        std::iter::from_fn(|| limit.begin()).collect()
    }

    #[test]
    fn it_grows_by_one_a_round_and_only_where_it_was_used() {
        let mut limit = Limit::new(Bounds { least: 1, first: 4, most: 6 });
        let ticket = limit.begin().unwrap();
        limit.end(ticket, Load::Fine);
        assert_eq!(limit.at_once(), 4, "one of four proves nothing");
        for _ in 0..40 {
            for ticket in full(&mut limit) {
                limit.end(ticket, Load::Fine);
            }
        }
        assert_eq!(limit.at_once(), 6);
        assert_eq!(limit.under_way(), 0);
    }

    #[test]
    fn a_whole_round_of_overload_halves_it_once_and_never_to_nothing() {
        let mut limit = Limit::new(Bounds { least: 1, first: 16, most: 64 });
        for expected in [8, 4, 2, 1, 1] {
            for ticket in full(&mut limit) {
                limit.end(ticket, Load::Over);
            }
            assert_eq!(limit.at_once(), expected);
        }
    }

    #[test]
    fn no_more_than_the_limit_begin_and_bad_bounds_are_put_right() {
        let mut limit = Limit::new(Bounds { least: 0, first: 9, most: 0 });
        let ticket = limit.begin().unwrap();
        assert!(limit.begin().is_none());
        limit.end(ticket, Load::Unknown);
        assert_eq!(limit.at_once(), 1);
    }
}
