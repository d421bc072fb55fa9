//! How far somebody has heard: the id of an event.
//!
//! It is made of the numbers of the records that were told, stream by stream, which only ever grow, over restarts and over
//! stores too. So it needs nothing that the gateway would have to remember of its listeners. A prediction's explanation
//! comes after it and has no number of its own: those that do not follow from the last prediction told are named, the ones
//! before it that are still to come, and the ones after it that came already.
//!
//! `a12-f3-e7-h44-p100-o98-o101`: alerts through 12, feedback through 3, explanations beside attributions through 7, health
//! through 44, predictions through 100; the explanation of prediction 98 is still to come, that of 101 was told.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Most predictions that an id names. With more, whoever comes back with it must read anew.
const MOST_NAMED: usize = 64;
/// Longest id looked at.
const LONGEST: usize = 2048;

/// What was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// An alert's transition.
    Alert(u64),
    /// A piece of feedback.
    Feedback(u64),
    /// What is explained beside attributions.
    Extra(u64),
    /// Something about the gateway.
    Health(u64),
    /// A prediction, and with it all before.
    Prediction(u64),
    /// The explanation of the prediction with this number.
    Explained(u64),
}

/// Up to where all was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) alerts: u64,
    pub(super) feedback: u64,
    pub(super) extras: u64,
    pub(super) health: u64,
    pub(super) predictions: u64,
    /// Predictions of alerts whose explanation was not told yet.
    pub(super) open: BTreeSet<u64>,
    /// Predictions above `predictions` whose explanation was.
    pub(super) ahead: BTreeSet<u64>,
    /// Nobody can go on from here.
    pub(super) lost: bool,
}

impl Place {
    /// One more thing is told.
    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Alert(number) => self.alerts = self.alerts.max(number),
            Step::Feedback(number) => self.feedback = self.feedback.max(number),
            Step::Extra(number) => self.extras = self.extras.max(number),
            Step::Health(number) => self.health = self.health.max(number),
            Step::Prediction(number) => {
                self.predictions = self.predictions.max(number);
                self.ahead = self.ahead.split_off(&self.predictions.saturating_add(1));
            }
            Step::Explained(number) => {
                self.open.remove(&number);
                if number > self.predictions {
                    self.ahead.insert(number);
                }
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alerts, feedback, extras, health, predictions, open, ahead, lost } = self;
        write!(f, "a{alerts}-f{feedback}-e{extras}-h{health}-p{predictions}")?;
        let mut named = open.range(..=predictions).chain(ahead);
        if *lost || named.clone().count() > MOST_NAMED {
            return f.write_str("-x");
        }
        named.try_for_each(|number| write!(f, "-o{number}"))
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() > LONGEST {
            return Err(());
        }
        let mut parts = text.split('-');
        let mut part = |letter| number(parts.next().ok_or(())?, letter);
        let (alerts, feedback, extras) = (part('a')?, part('f')?, part('e')?);
        let (health, predictions) = (part('h')?, part('p')?);
        let mut place = Self { alerts, feedback, extras, health, predictions, ..Self::default() };
        for named in parts {
            if named == "x" {
                place.lost = true;
                continue;
            }
            let number = number(named, 'o')?;
            if number > predictions {
                place.ahead.insert(number)
            } else {
                place.open.insert(number)
            };
        }
        Ok(place)
    }
}

fn number(text: &str, letter: char) -> Result<u64, ()> {
    let digits = text.strip_prefix(letter).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_was_told_and_is_read_back() {
        let mut place = Place { alerts: 12, feedback: 3, extras: 7, health: 44, predictions: 100, ..Place::default() };
        place.open = BTreeSet::from([98, 102]);
        place.step(Step::Explained(101));
        assert_eq!(place.to_string(), "a12-f3-e7-h44-p100-o98-o101", "102 was not told itself");
        let read: Place = place.to_string().parse().unwrap();
        assert_eq!((&read.open, &read.ahead), (&BTreeSet::from([98]), &BTreeSet::from([101])));
        place.step(Step::Prediction(102));
        assert_eq!(place.to_string(), "a12-f3-e7-h44-p102-o98-o102");
        place.step(Step::Explained(98));
        place.step(Step::Alert(11));
        assert_eq!(place.to_string(), "a12-f3-e7-h44-p102-o102", "what was told stays told");
    }

    #[test]
    fn one_that_would_name_too_many_says_so_and_nonsense_is_none() {
        let place = Place { predictions: 1000, open: (1..=65).collect(), ..Place::default() };
        assert_eq!(place.to_string(), "a0-f0-e0-h0-p1000-x");
        assert!(place.to_string().parse::<Place>().unwrap().lost);
        for text in
            ["", "7", "a1", "a1-f1-e1-h1", "a1-f1-e1-h1-p", "a1-f1-e1-h1-p+1", "a1-f1-e1-h1-p1-", "a1-f1-e1-h1-p1-q2"]
        {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        assert!("9".repeat(3000).parse::<Place>().is_err());
        assert!("a1-f1-e1-h1-p99999999999999999999".parse::<Place>().is_err());
    }
}
