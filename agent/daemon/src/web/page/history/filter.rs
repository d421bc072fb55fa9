//! Which alerts the history shows, and the form that asks for them.

use explaind_core::domain::alert::{AlarmState, GATEWAY, Priority};
use explaind_core::domain::feedback::Verdict;
use explaind_core::domain::time::Timestamp;
use explaind_core::explain::words::{Language, this_gateway};
use maud::{Markup, html};
use serde::Deserialize;

use super::Words;
use crate::buffer::Alert;
use crate::web::Web;
use crate::web::page::machines::encoded;
use crate::web::page::views;
use crate::web::problem::Problem;
use crate::web::time;
use crate::web::verdicts::Said;

/// What the address says. An empty value asks for nothing, as forms send it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::web::page) struct Asked {
    asset: String,
    state: String,
    priority: String,
    verdict: String,
    from: String,
    to: String,
    /// The number below which the page begins.
    pub(super) before: Option<u64>,
}

/// The same, once it makes sense.
pub(super) struct Filter {
    asset: Option<String>,
    state: Option<States>,
    priority: Option<Priority>,
    verdict: Option<Option<Verdict>>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq)]
enum States {
    Open,
    Closed,
    One(AlarmState),
}

const OPEN: &str = "open";
const CLOSED: &str = "closed";
/// Not judged yet.
const NONE: &str = "none";
const PRIORITIES: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Medium, Priority::Low];
/// What an alert can be judged as: what was missed had none.
const VERDICTS: [Verdict; 4] = [Verdict::Confirm, Verdict::Reject, Verdict::Correct, Verdict::Unsure];

/// The states that one can ask for by themselves: closed is one of the two words above.
fn states() -> impl Iterator<Item = AlarmState> {
    AlarmState::ALL.into_iter().filter(|state| state.is_open())
}

/// What is asked for under a name; nothing where that is empty.
fn chosen<T>(key: &str, text: &str, named: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    named(text).map(Some).ok_or_else(|| Problem::unacceptable(format!("{key} = \"{text}\" is none of the choices")))
}

impl Filter {
    /// Reads it from the address.
    pub(super) fn of(asked: &Asked) -> Result<Self, Problem> {
        let state = |name: &str| match name {
            OPEN => Some(States::Open),
            CLOSED => Some(States::Closed),
            _ => states().find(|state| state.as_str() == name).map(States::One),
        };
        let verdict = |name: &str| match name {
            NONE => Some(None),
            _ => VERDICTS.into_iter().find(|verdict| verdict.as_str() == name).map(Some),
        };
        Ok(Self {
            asset: Some(asked.asset.clone()).filter(|asset| !asset.is_empty()),
            state: chosen("state", &asked.state, state)?,
            priority: chosen("priority", &asked.priority, |name| PRIORITIES.into_iter().find(|p| p.as_str() == name))?,
            verdict: chosen("verdict", &asked.verdict, verdict)?,
            from: at("from", &asked.from)?,
            to: at("to", &asked.to)?,
        })
    }

    /// Whether an alert is one of those.
    pub(super) fn fits(&self, web: &Web, alert: &Alert) -> bool {
        let state = self.state.is_none_or(|state| match state {
            States::Open => alert.state.is_open(),
            States::Closed => !alert.state.is_open(),
            States::One(one) => alert.state == one,
        });
        state
            && self.asset.as_ref().is_none_or(|asset| **asset == *alert.asset)
            && self.priority.is_none_or(|priority| priority == alert.priority)
            && self.from.is_none_or(|from| alert.raised_at >= from)
            && self.to.is_none_or(|to| alert.raised_at < to)
            && self
                .verdict
                .is_none_or(|verdict| verdict == standing(&web.verdicts.on(Some(alert.id), alert.prediction_id)))
    }
}

/// The verdict that stands on an alert: the last that was not revised.
pub(super) fn standing(said: &[Said]) -> Option<Verdict> {
    said.iter().rev().filter(|said| !said.revised).find_map(|said| said.feedback.verdict)
}

/// A time with its offset, as our script sends it, or without one, as a form does by itself: then it is in UTC.
fn at(key: &str, text: &str) -> Result<Option<Timestamp>, Problem> {
    let read = |text: &str| {
        time::parse(text).or_else(|| time::parse(&format!("{text}Z"))).or_else(|| time::parse(&format!("{text}:00Z")))
    };
    if text.is_empty() {
        return Ok(None);
    }
    read(text)
        .map(Some)
        .ok_or_else(|| Problem::unacceptable(format!("{key} = \"{text}\" is no time; write it like 2026-11-28T08:30")))
}

impl Asked {
    /// The filters as a query, ready for a cursor.
    pub(super) fn query(&self) -> String {
        let all = [
            ("asset", &self.asset),
            ("state", &self.state),
            ("priority", &self.priority),
            ("verdict", &self.verdict),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let set = all.into_iter().filter(|(_, value)| !value.is_empty());
        set.map(|(key, value)| format!("{key}={}&", encoded(value))).collect()
    }

    fn is_filtered(&self) -> bool {
        !self.query().is_empty()
    }
}

/// The form. It works by itself; scripts put times into the viewer's zone.
pub(super) fn form(web: &Web, asked: &Asked, language: Language, words: &Words) -> Markup {
    let known =
        web.assets.iter().any(|asset| **asset == *asked.asset) || asked.asset.is_empty() || asked.asset == GATEWAY;
    html! {
        form .filters method="get" action="/history" aria-label=(words.filters) data-filters {
            div {
                label for="f-asset" { (words.asset) }
                select #f-asset name="asset" {
                    option value="" { (words.any) }
                    @for asset in &web.assets { option value=(asset) selected[**asset == *asked.asset] { (asset) } }
                    @if !known { option value=(asked.asset) selected { (asked.asset) } }
                    option value=(GATEWAY) selected[asked.asset == GATEWAY] { (this_gateway(language)) }
                }
            }
            div {
                label for="f-state" { (words.state) }
                select #f-state name="state" {
                    option value="" { (words.any) }
                    option value=(OPEN) selected[asked.state == OPEN] { (words.open) }
                    option value=(CLOSED) selected[asked.state == CLOSED] { (words.closed) }
                    @for state in states() {
                        option value=(state.as_str()) selected[asked.state == state.as_str()] { (views::state(language, state)) }
                    }
                }
            }
            div {
                label for="f-priority" { (words.priority) }
                select #f-priority name="priority" {
                    option value="" { (words.any) }
                    @for priority in PRIORITIES {
                        option value=(priority.as_str()) selected[asked.priority == priority.as_str()] {
                            (views::priority(language, priority))
                        }
                    }
                }
            }
            div {
                label for="f-verdict" { (words.verdict) }
                select #f-verdict name="verdict" {
                    option value="" { (words.any) }
                    option value=(NONE) selected[asked.verdict == NONE] { (words.no_verdict) }
                    @for verdict in VERDICTS {
                        option value=(verdict.as_str()) selected[asked.verdict == verdict.as_str()] {
                            (views::verdict(language, verdict))
                        }
                    }
                }
            }
            (moment("from", words.from, &asked.from, words))
            (moment("to", words.to, &asked.to, words))
            div .buttons {
                button .primary type="submit" { (words.show) }
                @if asked.is_filtered() { a .button href="/history" { (words.reset) } }
            }
        }
    }
}

/// A field for a time. Without scripts it is in UTC, and says so.
fn moment(name: &str, label: &str, value: &str, words: &Words) -> Markup {
    let id = format!("f-{name}");
    // What the field takes: to the minute, without a zone.
    let utc = at(name, value).ok().flatten().map(time::iso);
    let shown = utc.as_ref().and_then(|text| text.get(..16)).unwrap_or_default();
    html! {
        div {
            label for=(id) { (label) " " span data-zone=(words.local) { (words.utc) } }
            input #(id) type="datetime-local" name=(name) value=(shown) data-at=[utc.as_deref()];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(change: impl FnOnce(&mut Asked)) -> Asked {
        let mut asked = Asked::default();
        change(&mut asked);
        asked
    }

    #[test]
    fn an_empty_form_asks_for_all_and_what_makes_no_sense_is_refused() {
        let all = Filter::of(&Asked::default());
        assert!(all.is_ok_and(|all| all.state.is_none() && all.asset.is_none() && all.verdict.is_none()));
        for wrong in [
            asked(|asked| asked.state = "gone".into()),
            asked(|asked| asked.priority = "urgent".into()),
            asked(|asked| asked.verdict = "missed".into()),
            asked(|asked| asked.from = "yesterday".into()),
        ] {
            let refused = Filter::of(&wrong).err().unwrap();
            assert_eq!(refused.status, axum::http::StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
        }
    }

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        let expected = time::parse("2026-11-28T08:30:00Z");
        for text in ["2026-11-28T08:30", "2026-11-28T08:30:00", "2026-11-28T09:30:00+01:00", "2026-11-28T08:30:00.000Z"]
        {
            assert_eq!(at("from", text).unwrap(), expected, "{text}");
        }
        assert_eq!(at("from", "").unwrap(), None);
    }

    #[test]
    fn the_next_page_keeps_the_filters() {
        let asked = asked(|asked| {
            asked.asset = "a&b=c".into();
            asked.state = "open".into();
            asked.before = Some(7);
        });
        assert_eq!(asked.query(), "asset=a%26b%3Dc&state=open&");
        assert!(asked.is_filtered() && !Asked::default().is_filtered());
    }
}
