//! What this gateway knows of one model's bundles: which one runs, which ran before, which is tried beside it, and which it
//! will not have. It lies in one small file that is replaced whole, so at any moment there is one answer.
//!
//! Everything here is a step from one state to the next. That a step is on disk before anything acts on it is for who
//! calls ([`Home`](super::slots::Home) writes it).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::version;

/// Unclean ends of the daemon under a new bundle that it takes to go back: one may be a power cut.
const MOST_UNCLEAN: u32 = 2;
/// Checks that a bundle may pass once the configuration is another.
const BY_FIT: [&str; 7] = ["signature", "hardware", "asset", "expiry", "features", "memory", "time"];
/// The longest text kept of what others said, in characters.
const LONGEST: usize = 600;
/// Bundles remembered as accepted, and as refused; the oldest are forgotten.
const REMEMBERED: usize = 64;

/// A bundle that was verified on this gateway, and whose slot is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installed {
    /// The bundle's identity: the digest of its `SHA256SUMS`.
    pub(crate) digest: String,
    /// As its manifest says.
    #[serde(default)]
    pub(crate) name: String,
    /// As its manifest says.
    pub(crate) version: String,
    /// The registry's number.
    pub(crate) registry_version: u64,
    /// Digest of `model.onnx`.
    pub(crate) model_digest: String,
    /// Digest of `background.csv`.
    pub(crate) background_digest: String,
    /// Whether a trusted key signed it.
    pub(crate) signed: bool,
    /// When it got its present place, in microseconds UTC.
    pub(crate) since: i64,
    /// The number of the last prediction before that: clocks may be put right meanwhile.
    #[serde(default)]
    pub(crate) after: u64,
    /// While it is new there.
    pub(crate) trial: Option<Trial>,
}

/// A bundle's first time in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// How often the daemon ended under it without having been told to.
    pub(crate) unclean: u32,
    /// Whether a daemon runs it. Found set at a start, it says that the one before ended uncleanly.
    pub(crate) running: bool,
}

/// A bundle that this gateway will not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// Its identity, as far as it is known.
    pub(crate) digest: Option<String>,
    /// As its manifest says, where that was read.
    pub(crate) version: Option<String>,
    /// The registry's number.
    pub(crate) registry_version: u64,
    /// The check that it did not pass, or why it was taken back.
    pub(crate) check: String,
    /// One sentence.
    pub(crate) reason: String,
    /// When, in microseconds UTC.
    pub(crate) at: i64,
}

/// A bundle that passed its checks and is loaded for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trying {
    /// The alias that points at it.
    pub(crate) alias: String,
    /// What that points at.
    pub(crate) target: Target,
    /// Its version.
    pub(crate) version: String,
    /// How often the daemon ended meanwhile.
    pub(crate) unclean: u32,
}

/// What an alias points at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// The registry's number.
    pub(crate) number: u64,
    /// The digest that the registry says.
    pub(crate) digest: Option<String>,
}

/// What was last in charge: it outlives its slot, so that no older bundle gets in once there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Last {
    /// As the bundle's manifest said.
    pub(crate) name: String,
    /// As it said, too.
    pub(crate) version: String,
}

impl From<&Installed> for Last {
    fn from(installed: &Installed) -> Self {
        Self { name: installed.name.clone(), version: installed.version.clone() }
    }
}

/// A change that is to be told upstream. It is part of the state until it is on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// What the model is now: `active`, `challenger`, `refused`, …
    pub(crate) state: String,
    /// The figures behind it.
    pub(crate) evidence: Vec<(String, String)>,
}

/// Which place a bundle has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Seat {
    /// It decides.
    Champion,
    /// It runs beside, and decides on canary assets only.
    Challenger,
}

impl Seat {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Champion => "champion",
            Self::Challenger => "challenger",
        }
    }
}

/// `state.json` of one model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// The one that decides.
    pub(crate) active: Option<Installed>,
    /// The one before, to go back to.
    pub(crate) previous: Option<Installed>,
    /// The one that is tried beside it.
    pub(crate) challenger: Option<Installed>,
    /// What each alias pointed at when it was last acted upon, whatever came of it.
    pub(crate) handled: BTreeMap<String, Target>,
    /// Identities that ran here and were not refused since, the newest last.
    pub(crate) accepted: Vec<String>,
    /// Which version was last in charge, whatever became of it.
    pub(crate) last: Option<Last>,
    /// What was refused or taken back, the newest last.
    pub(crate) refused: Vec<Refused>,
    /// What is not yet on record.
    pub(crate) untold: Vec<Event>,
    /// The model's name in the registry; another one is another story.
    pub(crate) registered_as: String,
    /// What was demanded of bundles when the daemon last started.
    pub(crate) demanded: String,
    /// What is being loaded into this process for the first time, and how often it ended meanwhile.
    pub(crate) trying: Option<Trying>,
}

impl State {
    /// Whether this is what the alias pointed at when it was last acted upon.
    pub(crate) fn has_handled(&self, alias: &str, target: &Target) -> bool {
        self.handled.get(alias) == Some(target)
    }

    /// The bundle in a place.
    pub(crate) fn at(&self, seat: Seat) -> Option<&Installed> {
        match seat {
            Seat::Champion => self.active.as_ref(),
            Seat::Challenger => self.challenger.as_ref(),
        }
    }

    /// What a new bundle is held against: what is in charge, or was last.
    fn last_in_charge(&self) -> Option<Last> {
        self.active.as_ref().or(self.previous.as_ref()).map(Last::from).or_else(|| self.last.clone())
    }

    fn runs(&self) -> &'static str {
        if self.active.is_some() { "runs" } else { "ran" }
    }

    /// Why a bundle is none of this model's, however well signed: it goes by another name than the one that runs, or ran last.
    pub(crate) fn is_another(&self, name: &str) -> Option<String> {
        let last = self.last_in_charge()?;
        let other = !last.name.is_empty() && last.name != name;
        other.then(|| {
            let (last, runs) = (&last.name, self.runs());
            format!("it is a bundle of \"{name}\", and \"{last}\" {runs} here; pack it under that name, or configure a model of its own for it")
        })
    }

    /// Why a bundle must not come after the one that runs, or ran last: it is older, and not one that this gateway went back from in good
    /// standing. Moving the alias back is how people roll back; an old bundle that never ran here is something else.
    pub(crate) fn is_downgrade(&self, digest: &str, version: &str) -> Option<String> {
        let last = self.last_in_charge()?;
        if self.accepted.iter().any(|known| known == digest) {
            return None;
        }
        match version::compare(version, &last.version) {
            Some(order) if order.is_lt() => Some(format!(
                "version {version} is older than {}, which {} here, and never ran here itself; push it under a higher version",
                last.version,
                self.runs()
            )),
            Some(_) => None,
            None => {
                Some(format!("versions {version} and {} cannot be compared; number versions like 1.4.0", last.version))
            }
        }
    }

    /// A verified bundle takes its place. The champion that it replaces is kept.
    pub(crate) fn accept(&mut self, seat: Seat, mut new: Installed, alias: Option<(&str, Target)>, cause: &str) {
        new.trial = Some(Trial { unclean: 0, running: true });
        self.trying = None;
        self.handled.extend(alias.map(|(alias, target)| (alias.to_owned(), target)));
        self.note_accepted(&new.digest);
        let mut evidence = described(&new);
        evidence.push(("cause".to_owned(), cause.to_owned()));
        match seat {
            Seat::Champion => {
                if self.challenger.as_ref().is_some_and(|challenger| challenger.digest == new.digest) {
                    self.challenger = None;
                }
                if let Some(mut old) = self.active.take().filter(|old| old.digest != new.digest) {
                    evidence.push(("from_version".to_owned(), old.version.clone()));
                    evidence.push(("from_digest".to_owned(), old.digest.clone()));
                    // One that was still on trial ends it by being replaced: it had no breach.
                    old.trial = None;
                    self.previous = Some(old);
                }
                self.last = Some(Last::from(&new));
                self.active = Some(new);
                self.tell("active", evidence);
            }
            Seat::Challenger => {
                self.challenger = Some(new);
                self.tell("challenger", evidence);
            }
        }
    }

    /// What an alias points at is what has the place already, or no longer anything of interest.
    pub(crate) fn handle(&mut self, alias: &str, target: Target) {
        self.handled.insert(alias.to_owned(), target);
    }

    /// A bundle did not pass. What runs goes on.
    pub(crate) fn refuse(&mut self, alias: &str, target: Target, refused: Refused) {
        self.trying = None;
        self.handled.insert(alias.to_owned(), target);
        self.note_refused(refused, "refused");
    }

    /// The bundle in a place is taken back: the one before decides again, or none where there is none.
    /// Returns whether there was one to take back.
    pub(crate) fn take_back(&mut self, seat: Seat, check: &str, reason: &str, at: i64) -> bool {
        let taken = match seat {
            Seat::Champion => self.active.take(),
            Seat::Challenger => self.challenger.take(),
        };
        let Some(taken) = taken else { return false };
        if seat == Seat::Champion {
            self.active = self.previous.take().map(|before| Installed { since: at, trial: None, ..before });
            // With none to go back to, it stays what was last in charge.
            self.last = Some(Last::from(self.active.as_ref().unwrap_or(&taken)));
        }
        let refused = Refused {
            digest: Some(taken.digest),
            version: Some(taken.version),
            registry_version: taken.registry_version,
            check: check.to_owned(),
            reason: reason.to_owned(),
            at,
        };
        self.note_refused(refused, if seat == Seat::Champion { "rolled_back" } else { "challenger_removed" });
        true
    }

    /// The challenger goes because nobody names one any more; nothing is held against it.
    pub(crate) fn dismiss(&mut self) {
        if let Some(gone) = self.challenger.take() {
            self.tell("challenger_removed", described(&gone));
        }
    }

    /// The daemon starts: whoever is on trial may have ended the run before. Returns whether anything changed.
    pub(crate) fn begin(&mut self, at: i64) {
        if let Some(mut trying) = self.trying.take() {
            trying.unclean = trying.unclean.saturating_add(1);
            if trying.unclean >= MOST_UNCLEAN {
                let refused = Refused {
                    digest: trying.target.digest.clone(),
                    version: Some(trying.version.clone()),
                    registry_version: trying.target.number,
                    check: "unclean_ends".to_owned(),
                    reason: format!("the daemon ended {} times while it was loaded", trying.unclean),
                    at,
                };
                self.refuse(&trying.alias.clone(), trying.target, refused);
            } else {
                self.trying = Some(trying);
            }
        }
        for seat in [Seat::Challenger, Seat::Champion] {
            let place = match seat {
                Seat::Champion => &mut self.active,
                Seat::Challenger => &mut self.challenger,
            };
            let Some(trial) = place.as_mut().and_then(|installed| installed.trial.as_mut()) else { continue };
            if trial.running {
                trial.unclean = trial.unclean.saturating_add(1);
            }
            trial.running = true;
            let unclean = trial.unclean;
            if unclean >= MOST_UNCLEAN {
                let reason = format!("the daemon ended {unclean} times without being told to while this was new");
                self.take_back(seat, "unclean_ends", &reason, at);
            }
        }
    }

    /// Something else is demanded now than when the daemon last started: what was refused for its fit may fit now.
    pub(crate) fn reconsider(&mut self, demanded: String) {
        if self.demanded == demanded {
            return;
        }
        self.demanded = demanded;
        let by_fit = |target: &Target| {
            let newest = self.refused.iter().rev().find(|refused| refused.registry_version == target.number);
            newest.is_some_and(|refused| BY_FIT.contains(&refused.check.as_str()))
        };
        let reconsidered: Vec<String> =
            self.handled.iter().filter(|(_, target)| by_fit(target)).map(|(alias, _)| alias.clone()).collect();
        self.handled.retain(|alias, _| !reconsidered.contains(alias));
    }

    /// The daemon ends as it was told to.
    pub(crate) fn end(&mut self) {
        self.trying = None;
        for installed in [&mut self.active, &mut self.challenger].into_iter().flatten() {
            installed.trial = installed.trial.map(|trial| Trial { running: false, ..trial });
        }
    }

    /// A bundle has proved itself in its place.
    pub(crate) fn prove(&mut self, seat: Seat) {
        let place = match seat {
            Seat::Champion => &mut self.active,
            Seat::Challenger => &mut self.challenger,
        };
        let Some(installed) = place.as_mut().filter(|installed| installed.trial.is_some()) else { return };
        installed.trial = None;
        let evidence = described(installed);
        if seat == Seat::Champion {
            self.tell("proved", evidence);
        }
    }

    /// The slots that must stay.
    pub(crate) fn slots(&self) -> BTreeSet<&str> {
        let places = [&self.active, &self.previous, &self.challenger];
        places.into_iter().flatten().map(|installed| installed.digest.as_str()).collect()
    }

    /// Notes what is to be told.
    pub(crate) fn tell(&mut self, state: &str, evidence: Vec<(String, String)>) {
        // Nobody took any for long: the disk takes no records, and the newest say most.
        if self.untold.len() >= REMEMBERED {
            self.untold.remove(0);
        }
        self.untold.push(Event { state: state.to_owned(), evidence });
    }

    fn note_accepted(&mut self, digest: &str) {
        self.accepted.retain(|known| known != digest);
        self.accepted.push(digest.to_owned());
        let surplus = self.accepted.len().saturating_sub(REMEMBERED);
        self.accepted.drain(..surplus);
    }

    fn note_refused(&mut self, mut refused: Refused, state: &str) {
        // Part of it may be what a registry said.
        refused.reason = shortened(&refused.reason);
        refused.version = refused.version.as_deref().map(shortened);
        let mut evidence: Vec<(String, String)> =
            vec![("check".to_owned(), refused.check.clone()), ("reason".to_owned(), refused.reason.clone())];
        evidence.extend(refused.version.iter().map(|version| ("version".to_owned(), version.clone())));
        evidence.extend(refused.digest.iter().map(|digest| ("digest".to_owned(), digest.clone())));
        evidence.push(("registry_version".to_owned(), refused.registry_version.to_string()));
        if state == "rolled_back" {
            let to = self.active.as_ref().map_or("none", |active| active.version.as_str()).to_owned();
            evidence.push(("to_version".to_owned(), to));
        }
        self.accepted.retain(|known| Some(known) != refused.digest.as_ref());
        self.refused.push(refused);
        let surplus = self.refused.len().saturating_sub(REMEMBERED);
        self.refused.drain(..surplus);
        self.tell(state, evidence);
    }
}

/// At most so much of a text that somebody else wrote.
fn shortened(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

fn described(installed: &Installed) -> Vec<(String, String)> {
    [
        ("version", installed.version.clone()),
        ("digest", installed.digest.clone()),
        ("registry_version", installed.registry_version.to_string()),
        ("model_digest", installed.model_digest.clone()),
        ("background_digest", installed.background_digest.clone()),
        ("signed", installed.signed.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(version: &str) -> Installed {
        Installed {
            digest: format!("digest of {version}"),
            name: "press".to_owned(),
            version: version.to_owned(),
            registry_version: 1,
            model_digest: "m".to_owned(),
            background_digest: "b".to_owned(),
            signed: true,
            since: 0,
            after: 0,
            trial: None,
        }
    }

    fn target(number: u64) -> Target {
        Target { number, digest: None }
    }

    fn running(versions: &[&str]) -> State {
        let mut state = State::default();
        for (number, version) in (1..).zip(versions) {
            state.accept(Seat::Champion, bundle(version), Some(("champion", target(number))), "alias");
            state.prove(Seat::Champion);
        }
        state
    }

    fn versions(state: &State) -> (Option<&str>, Option<&str>) {
        let version = |installed: &'_ Option<Installed>| installed.as_ref().map(|installed| installed.version.clone());
        let leak = |text: Option<String>| text.map(|text| &*text.leak());
        (leak(version(&state.active)), leak(version(&state.previous)))
    }

    #[test]
    fn going_back_by_the_alias_is_allowed_to_what_ran_here_and_was_not_refused() {
        let mut state = running(&["1.0.0", "1.1.0"]);
        assert_eq!(versions(&state), (Some("1.1.0"), Some("1.0.0")));
        assert_eq!(state.is_downgrade("digest of 1.0.0", "1.0.0"), None);
        assert!(state.is_downgrade("digest of another", "1.0.0").is_some_and(|reason| reason.contains("older")));
        assert_eq!(state.is_downgrade("digest of another", "1.1.0"), None, "the same version again is not older");
        state.accept(Seat::Champion, bundle("1.0.0"), None, "alias");
        assert_eq!(versions(&state), (Some("1.0.0"), Some("1.1.0")));
        // The last one that was accepted is what counts now.
        assert_eq!(state.is_downgrade("digest of another", "1.0.5"), None);
        state.take_back(Seat::Champion, "verdicts", "wrong", 1);
        assert_eq!(versions(&state), (Some("1.1.0"), None));
        assert!(state.is_downgrade("digest of 1.0.0", "1.0.0").is_some(), "it was refused since");
    }

    #[test]
    fn two_unclean_ends_of_a_new_bundle_bring_the_old_one_back() {
        let mut state = running(&["1", "2"]);
        for _ in 0..5 {
            state.begin(9);
        }
        assert_eq!(versions(&state).0, Some("2"), "one that has proved itself is not blamed");
        state.accept(Seat::Champion, bundle("3"), Some(("champion", target(3))), "alias");
        state.end();
        state.begin(9);
        assert_eq!(versions(&state).0, Some("3"), "a clean end counts for nothing");
        state.begin(9);
        assert_eq!(versions(&state).0, Some("3"), "one unclean end may be a power cut");
        state.begin(9);
        assert_eq!(versions(&state), (Some("2"), None));
        assert_eq!(state.refused.last().map(|refused| refused.check.as_str()), Some("unclean_ends"));
        assert!(state.has_handled("champion", &target(3)), "and it is not tried again until the alias moves");
        let told = state.untold.last().map(|event| event.state.as_str());
        assert_eq!(told, Some("rolled_back"));
    }

    #[test]
    fn what_ends_the_daemon_while_it_is_loaded_is_refused_the_second_time() {
        let mut state = running(&["1"]);
        let trying = Trying { alias: "champion".to_owned(), target: target(2), version: "2".to_owned(), unclean: 0 };
        for _ in 0..5 {
            state.trying = Some(trying.clone());
            state.end();
            state.begin(1);
        }
        assert!(!state.has_handled("champion", &target(2)), "a clean end counts for nothing");
        state.trying = Some(trying);
        state.begin(1);
        assert!(!state.has_handled("champion", &target(2)), "once may be a power cut");
        state.begin(2);
        assert!(state.has_handled("champion", &target(2)) && state.trying.is_none());
        assert_eq!(versions(&state).0, Some("1"));
        assert_eq!(state.refused.last().and_then(|refused| refused.version.as_deref()), Some("2"));
    }

    #[test]
    fn another_configuration_is_another_chance_for_what_did_not_fit_and_for_nothing_else() {
        let mut state = running(&["1", "2"]);
        state.reconsider("one".to_owned());
        let refuse = |state: &mut State, number, check: &str| {
            let refused = Refused {
                digest: None,
                version: None,
                registry_version: number,
                check: check.to_owned(),
                reason: String::new(),
                at: 1,
            };
            state.refuse("champion", target(number), refused);
        };
        refuse(&mut state, 3, "features");
        state.reconsider("one".to_owned());
        assert!(state.has_handled("champion", &target(3)), "nothing has changed");
        state.reconsider("two".to_owned());
        assert!(!state.has_handled("champion", &target(3)));
        refuse(&mut state, 4, "golden");
        state.reconsider("three".to_owned());
        assert!(state.has_handled("champion", &target(4)));
        state.handle("champion", target(2));
        state.take_back(Seat::Champion, "person", "no", 1);
        state.reconsider("four".to_owned());
        assert!(state.has_handled("champion", &target(2)), "what people took back stays away");
    }

    #[test]
    fn a_bundle_of_another_model_is_none_of_this_one() {
        let state = running(&["1"]);
        assert_eq!(state.is_another("press"), None);
        assert!(state.is_another("mill").is_some_and(|reason| reason.contains("mill")));
        assert_eq!(State::default().is_another("mill"), None);
    }

    #[test]
    fn an_older_one_stays_out_when_none_is_left_to_compare_with() {
        let mut state = running(&["1.0.0", "1.1.0"]);
        state.take_back(Seat::Champion, "load", "the card is bad", 1);
        assert!(state.is_downgrade("digest of another", "0.9.0").is_some());
        assert_eq!(state.is_downgrade("digest of 1.1.0", "1.1.0"), None, "it can be fetched anew");
        state.take_back(Seat::Champion, "load", "the card is bad", 2);
        assert_eq!(versions(&state), (None, None));
        // So it stays over a start.
        let text = serde_json::to_string(&state).unwrap();
        let mut state: State = serde_json::from_str(&text).unwrap();
        state.begin(3);
        let reason = state.is_downgrade("digest of another", "0.9.0").unwrap();
        assert!(reason.contains("older than 1.0.0, which ran here"), "{reason}");
        assert!(state.is_another("mill").is_some_and(|reason| reason.contains("\"press\" ran here")));
        for version in ["1.0.0", "1.1.0"] {
            assert_eq!(state.is_downgrade(&format!("digest of {version}"), version), None, "it can be fetched anew");
        }
        state.accept(Seat::Challenger, bundle("0.8.0"), None, "before there was a floor");
        state.dismiss();
        assert_eq!(state.is_downgrade("digest of 0.8.0", "0.8.0"), None, "it was accepted, and not refused since");
        // The only one that ever ran is the last one as well.
        let mut state = running(&["2.0.0"]);
        state.take_back(Seat::Champion, "non_finite", "no numbers", 1);
        assert!(state.is_downgrade("digest of another", "1.9.0").is_some());
        assert_eq!(state.is_downgrade("digest of another", "2.0.1"), None);
        assert_eq!(State::default().is_downgrade("digest of another", "0.1"), None, "nothing was ever accepted");
    }

    #[test]
    fn a_state_that_was_written_before_reads_on() {
        let mut state = running(&["1.0.0", "1.1.0"]);
        let mut text = serde_json::to_value(&state).unwrap();
        assert!(text.as_object_mut().unwrap().remove("last").is_some());
        state.last = None;
        let mut read: State = serde_json::from_value(text).unwrap();
        assert_eq!(read, state);
        read.take_back(Seat::Champion, "x", "y", 1);
        read.take_back(Seat::Champion, "x", "y", 2);
        assert!(read.is_downgrade("digest of another", "0.9").is_some());
    }

    #[test]
    fn with_nothing_before_none_decides() {
        let mut state = State::default();
        assert!(!state.take_back(Seat::Champion, "x", "y", 1));
        state.accept(Seat::Champion, bundle("1"), None, "alias");
        assert!(state.take_back(Seat::Champion, "x", "y", 1));
        assert_eq!(versions(&state), (None, None));
        assert_eq!(state.slots().len(), 0);
    }

    #[test]
    fn a_challenger_that_becomes_champion_is_a_challenger_no_longer() {
        let mut state = running(&["1"]);
        state.accept(Seat::Challenger, bundle("2"), Some(("challenger", target(2))), "alias");
        assert_eq!(state.slots().len(), 2);
        state.accept(Seat::Champion, bundle("2"), Some(("champion", target(2))), "alias");
        assert_eq!((versions(&state), state.challenger.clone()), ((Some("2"), Some("1")), None));
        // The same again leaves the one before where it is.
        state.accept(Seat::Champion, bundle("2"), None, "alias");
        assert_eq!(versions(&state), (Some("2"), Some("1")));
        state.accept(Seat::Challenger, bundle("3"), None, "alias");
        state.begin(1);
        state.begin(1);
        assert_eq!(state.challenger, None, "it is blamed as a champion would be");
        state.accept(Seat::Challenger, bundle("3"), None, "alias");
        state.dismiss();
        assert_eq!((state.challenger.clone(), state.accepted.len()), (None, 2));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut state = State::default();
        for number in 0..500 {
            state.accept(Seat::Champion, bundle(&number.to_string()), None, "alias");
            state.take_back(Seat::Champion, "x", "y", 1);
            state.accept(Seat::Challenger, bundle(&format!("c{number}")), None, "alias");
        }
        let sizes = [state.accepted.len(), state.refused.len(), state.untold.len()];
        assert!(sizes.iter().all(|size| *size <= REMEMBERED), "{sizes:?}");
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }
}
