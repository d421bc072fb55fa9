//! Why a prediction has no explanation.
//!
//! Records hold the reason as text, and are only ever added to; read back it is known again for what it is, so that it can be
//! said in any language.

use std::fmt;

/// Why a prediction has no explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It was withheld, or its model is gone since.
    Nothing,
    /// Its model is gone.
    Gone,
    /// It is a challenger's, not shown to anyone.
    Challenger,
    /// A rule made it while no model could run: its conditions are all there is to say.
    Rule,
    /// More came of this machine than can be explained.
    Crowded {
        /// One in so many is explained.
        one_in: u32,
    },
    /// More alerts came at once than may wait.
    ManyAlerts,
    /// It was not shown: the store failed when it was written.
    NotShown,
    /// The explanation was made and its record is damaged; with what is wrong.
    Lost(String),
    /// A library gave up from within.
    Within,
    /// The model or the method gave no answer; with what it said.
    Failed(String),
}

const NOTHING: &str = "nothing to explain: withheld, or its model no longer runs";
const GONE: &str = "the model no longer runs";
const CHALLENGER: &str = "a challenger's prediction, not shown to anyone";
const RULE: &str = "a rule stood in for the model; its alert says which condition held";
const CROWDED: &str = "no capacity; of this machine's predictions one in ";
const CROWDED_END: &str = " is explained at present";
const MANY_ALERTS: &str = "no capacity; too many alerts came at once";
const NOT_SHOWN: &str = "the store failed when it was written, so it was not shown";
const LOST: &str = "the stored explanation is lost: ";
const WITHIN: &str = "the model failed from within; the log says how";

impl Reason {
    /// The reason that a record's text stands for. What is not known is something that failed.
    pub fn read(text: &str) -> Self {
        let crowded = text.strip_prefix(CROWDED).and_then(|rest| rest.strip_suffix(CROWDED_END));
        match text {
            NOTHING => Self::Nothing,
            GONE => Self::Gone,
            CHALLENGER => Self::Challenger,
            RULE => Self::Rule,
            MANY_ALERTS => Self::ManyAlerts,
            NOT_SHOWN => Self::NotShown,
            WITHIN => Self::Within,
            _ => match (crowded.and_then(|number| number.parse().ok()), text.strip_prefix(LOST)) {
                (Some(one_in), _) => Self::Crowded { one_in },
                (None, Some(what)) => Self::Lost(what.to_owned()),
                (None, None) => Self::Failed(text.to_owned()),
            },
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str(NOTHING),
            Self::Gone => f.write_str(GONE),
            Self::Challenger => f.write_str(CHALLENGER),
            Self::Rule => f.write_str(RULE),
            Self::Crowded { one_in } => write!(f, "{CROWDED}{one_in}{CROWDED_END}"),
            Self::ManyAlerts => f.write_str(MANY_ALERTS),
            Self::NotShown => f.write_str(NOT_SHOWN),
            Self::Lost(what) => write!(f, "{LOST}{what}"),
            Self::Within => f.write_str(WITHIN),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_known_again() {
        let failed = Reason::Failed("the model's answer is not a finite number".to_owned());
        let lost = Reason::Lost("it is missing".to_owned());
        let known = [Reason::Nothing, Reason::Gone, Reason::Crowded { one_in: 1024 }, Reason::ManyAlerts];
        let of_roles = [Reason::Challenger, Reason::Rule];
        for reason in known.into_iter().chain(of_roles).chain([Reason::NotShown, lost, Reason::Within, failed]) {
            assert_eq!(Reason::read(&reason.to_string()), reason);
        }
    }
}
