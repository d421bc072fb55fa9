//! Follows an alias: looks what it points at, fetches that, has it checked, and gives it its place.
//!
//! Each target is acted upon once, whatever comes of it: what is refused, or was taken back since, is not tried again before
//! the alias points elsewhere. Only what is nobody's fault (the registry is away, the disk is full) is tried again.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use explaind_core::domain::record::Stream;
use explaind_core::model::{Model, bundle};
use tokio_util::sync::CancellationToken;

use super::slots::Home;
use super::state::{Installed, Refused, Seat, State, Target, Trying};
use super::verify::{self, Report};
use super::{Followed, Rollout, open, rest, write};
use crate::backoff::Backoff;
use crate::clock;
use crate::registry::models::{Limits, Version, Wanted};
use crate::registry::{Registry, RegistryError};

/// What is accepted of a version.
const LIMITS: Limits = Limits {
    file: bundle::size_limit,
    total: crate::folder::MOST_BYTES,
    files: crate::folder::MOST_FILES,
    sums: bundle::SUMS,
};
/// How often what comes of the registry may make no sense before it is refused: a proxy may have answered in its place.
const TRIES: u32 = 3;
/// The first and the longest wait after the registry did not answer.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(2);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// The first look comes within this time.
const LONGEST_START: Duration = Duration::from_secs(10);
/// The longest that one question about an alias may take, and that fetching may go without an end.
pub(super) const QUESTION: Duration = Duration::from_secs(60);
const FETCHING: Duration = Duration::from_secs(6 * 3600);

/// The longest reason that is shown and logged, in characters.
pub(super) const LONGEST: usize = 600;

/// Why a turn came to nothing, and shall be taken again.
struct Later {
    reason: String,
    rest: Duration,
    /// The registry answers; there is only nothing of the kind.
    answered: bool,
}

impl Later {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into().chars().take(LONGEST).collect(), rest: Duration::ZERO, answered: false }
    }
}

impl From<RegistryError> for Later {
    fn from(error: RegistryError) -> Self {
        let answered = matches!(error, RegistryError::Missing { .. } | RegistryError::NoAlias { .. });
        Self { rest: error.rest(), answered, ..Self::new(error.to_string()) }
    }
}

/// Follows one alias until it is time to stop.
pub(super) async fn run(rollout: Rollout, model: Arc<Followed>, registry: Registry, seat: Seat, alias: String) {
    let mut follower = Follower { rollout, model, registry, seat, alias, senseless: None };
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT.min(follower.poll() * 10).max(FIRST_WAIT));
    let stop = follower.rollout.0.stop.clone();
    // When the power comes back all of a plant's gateways start in the same second.
    if rest(&stop, jittered(follower.poll()).min(LONGEST_START).mul_f64(random())).await {
        return;
    }
    loop {
        let turn = tokio::select! {
            () = stop.cancelled() => return,
            turn = follower.turn(&stop) => turn,
        };
        let wait = match turn {
            Ok(()) => {
                follower.note(None);
                backoff.reset();
                jittered(follower.poll())
            }
            Err(later) => {
                follower.note(Some(later.reason));
                if later.answered { jittered(follower.poll()) } else { backoff.next().max(later.rest) }
            }
        };
        if rest(&stop, wait).await {
            return;
        }
    }
}

/// A wait of about so long, so that a plant's gateways do not all ask in the same second.
pub(super) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.9 + 0.2 * random())
}

/// Between 0 and 1.
fn random() -> f64 {
    f64::from(clock::random().first().copied().unwrap_or(128)) / 255.0
}

struct Follower {
    rollout: Rollout,
    model: Arc<Followed>,
    registry: Registry,
    seat: Seat,
    alias: String,
    /// What made no sense lately, and how often.
    senseless: Option<(Target, u32)>,
}

/// A bundle that passed.
struct Passed {
    report: Report,
    model: Arc<Model>,
}

impl Follower {
    fn poll(&self) -> Duration {
        self.rollout.0.following.poll
    }

    fn name(&self) -> &str {
        &self.model.config.name
    }

    fn note(&self, error: Option<String>) {
        let mut shown = self.model.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(error) = error else {
            shown.checked_at = Some(clock::now().utc.as_micros());
            shown.errors.remove(&self.seat);
            return;
        };
        if shown.errors.get(&self.seat) != Some(&error) {
            tracing::warn!(model = self.name(), alias = self.alias, error, "the registry's model is not to be had now");
        }
        shown.errors.insert(self.seat, error);
    }

    /// One look, and what follows from it.
    async fn turn(&mut self, stop: &CancellationToken) -> Result<(), Later> {
        let Some(home) = self.model.home.clone() else { return Ok(()) };
        let wanted = Wanted::Alias(self.alias.clone());
        let asked = self.registry.version(self.model.config.registered(), &wanted);
        let mut version = match tokio::time::timeout(QUESTION, asked).await {
            Err(_) => return Err(Later::new(format!("the registry did not answer for {} s", QUESTION.as_secs()))),
            Ok(Ok(version)) => version,
            // Only the alias is gone, and not the whole model, as on a share that is not mounted.
            Ok(Err(RegistryError::NoAlias { .. })) if self.seat == Seat::Challenger => {
                return self.dismiss(&home).await;
            }
            Ok(Err(error)) => return Err(error.into()),
        };
        version.digest = version.digest.filter(|digest| is_digest(digest));
        let target = Target { number: version.number, digest: version.digest.clone() };
        let begun = clock::now().utc.as_micros();
        if self.is_settled(&home, &version, &target).await? {
            return Ok(());
        }
        tracing::info!(model = self.name(), alias = self.alias, version = version.number, "the registry has a bundle");
        let place = match self.fetch(&home, &version).await {
            Ok(place) => place,
            Err(Trouble::Later(later)) => return Err(later),
            Err(Trouble::Senseless(reason)) => return self.senseless(&home, target, "content", reason).await,
        };
        match self.check(&home, &place, (&version, &target), stop).await? {
            Ok(passed) => self.install(&home, &place, passed, (target, begun)).await,
            // What came may have been changed on its way, or is still being copied to where it came from.
            Err(Refused { check, reason, .. }) if place.is_draft && ["files", "digests"].contains(&check.as_str()) => {
                home.discard(&place.path);
                self.senseless(&home, target, &check, reason).await
            }
            Err(refused) => {
                self.refuse(&home, target, refused).await?;
                if place.is_draft {
                    home.discard(&place.path);
                }
                Ok(())
            }
        }
    }

    /// Whether there is nothing to do about this target.
    async fn is_settled(&self, home: &Home, version: &Version, target: &Target) -> Result<bool, Later> {
        let mut seats = self.model.seats.lock().await;
        if seats.state.has_handled(&self.alias, target) {
            return Ok(true);
        }
        let here = |installed: Option<&Installed>| {
            installed.is_some_and(|installed| version.digest.as_ref() == Some(&installed.digest))
        };
        // It sits where it should; or the challenger is what decides already.
        let is_champion = here(seats.state.active.as_ref());
        if !is_champion && !here(seats.state.at(self.seat)) {
            return Ok(false);
        }
        let mut next = seats.state.clone();
        next.handle(&self.alias, target.clone());
        let leaves = self.seat == Seat::Challenger && is_champion && next.challenger.is_some();
        if leaves {
            next.dismiss();
        }
        write(home, &next).map_err(Later::new)?;
        seats.state = next;
        if leaves {
            seats.challenger = None;
            self.rollout.make(&self.model, &mut seats).await;
        }
        self.rollout.tell(&self.model, &mut seats);
        Ok(true)
    }

    /// Nobody names a challenger any more.
    async fn dismiss(&self, home: &Home) -> Result<(), Later> {
        let mut seats = self.model.seats.lock().await;
        let mut next = seats.state.clone();
        next.dismiss();
        // The same alias, set again, is a new wish.
        next.handled.remove(&self.alias);
        if next == seats.state {
            return Ok(());
        }
        write(home, &next).map_err(Later::new)?;
        seats.state = next;
        seats.challenger = None;
        self.rollout.make(&self.model, &mut seats).await;
        self.rollout.tell(&self.model, &mut seats);
        sweep(home, &seats.state);
        Ok(())
    }

    /// Fetches a version into a draft, where an earlier try may have left a part of it; what is in a slot is not fetched again.
    async fn fetch(&self, home: &Home, version: &Version) -> Result<Place, Trouble> {
        let later = |error: std::io::Error| Trouble::Later(Later::new(format!("the bundle cannot be kept: {error}")));
        let digest = version.digest.as_deref();
        let kept = self.model.seats.lock().await.state.slots().iter().any(|slot| Some(*slot) == digest);
        if let Some(slot) = digest.map(|digest| home.slot(digest)).filter(|slot| kept && slot.is_dir()) {
            return Ok(Place { path: slot, is_draft: false });
        }
        let draft = home.draft(digest.unwrap_or(&format!("version-{}", version.number)), self.seat).map_err(later)?;
        let fetching = self.registry.pull(version, LIMITS, &draft);
        match tokio::time::timeout(FETCHING, fetching).await {
            Ok(Ok(())) => Ok(Place { path: draft, is_draft: true }),
            Ok(Err(error @ RegistryError::Content { .. })) => {
                home.discard(&draft);
                Err(Trouble::Senseless(error.to_string()))
            }
            Ok(Err(error)) => Err(Trouble::Later(error.into())),
            Err(_) => Err(Trouble::Later(Later::new("fetching the bundle took more than six hours"))),
        }
    }

    /// Checks a bundle: in a process of its own first; only what passed there is loaded here.
    async fn check(
        &self,
        home: &Home,
        place: &Place,
        (version, target): (&Version, &Target),
        stop: &CancellationToken,
    ) -> Result<Result<Passed, Refused>, Later> {
        let refused = |check: &str, reason: String, digest: Option<String>, named: Option<String>| Refused {
            digest,
            version: named,
            registry_version: version.number,
            check: check.to_owned(),
            reason,
            at: clock::now().utc.as_micros(),
        };
        let said = version.digest.clone();
        let demands = open::as_of_now(&self.model.demands);
        // One after the other: together two would take twice the memory that is meant for one.
        let _turn = self.rollout.0.checking.acquire().await;
        let report = match verify::verify(&self.rollout.0.program, &place.path, &demands, stop).await {
            Ok(report) => report,
            // Nothing was found out, and the bundle is not to blame.
            Err(verify::Refused { check: verify::Check::Unchecked, reason }) => return Err(Later::new(reason)),
            // It was swept meanwhile, since it was nobody's; it is fetched again.
            Err(_) if !place.path.is_dir() => return Err(Later::new("the bundle is fetched again")),
            Err(verify::Refused { check, reason }) => return Ok(Err(refused(check.as_str(), reason, said, None))),
        };
        let (identity, named) = (report.identity.clone(), Some(report.version.clone()));
        if let Some(said) = said.filter(|said| *said != identity) {
            let reason = format!("the registry says that its digest is {}, and it is {identity}", said.escape_debug());
            return Ok(Err(refused("digests", reason, Some(identity), named)));
        }
        {
            let mut seats = self.model.seats.lock().await;
            if let Some(reason) = seats.state.is_another(&report.name) {
                return Ok(Err(refused("name", reason, Some(identity), named)));
            }
            if let Some(reason) = seats.state.is_downgrade(&identity, &report.version) {
                return Ok(Err(refused("version", reason, Some(identity), named)));
            }
            // Should loading it be the end of this process, the next one knows.
            let before = seats.state.trying.as_ref().filter(|before| before.target == *target);
            let trying = Trying {
                alias: self.alias.clone(),
                target: target.clone(),
                version: report.version.clone(),
                unclean: before.map_or(0, |before| before.unclean),
            };
            let next = State { trying: Some(trying), ..seats.state.clone() };
            write(home, &next).map_err(Later::new)?;
            seats.state = next;
        }
        // Its second look, at the same bytes: what is loaded must be what was checked.
        let (path, keys, stage) = (place.path.clone(), demands.keys.clone(), Arc::clone(&self.rollout.0.stage));
        let (name, digest) = (Arc::clone(&self.model.config.name), identity.clone());
        let loading = tokio::task::spawn_blocking(move || {
            let model = open::load_slot(&path, &keys, &digest)?;
            stage.prepare(&name, &model);
            Ok::<_, String>(model)
        });
        let loaded = loading.await.unwrap_or_else(|_| Err("loading it failed from within".to_owned()));
        // It was not: what keeps it from its place now is not laid at its door.
        let mut seats = self.model.seats.lock().await;
        let next = State { trying: None, ..seats.state.clone() };
        write(home, &next).map_err(Later::new)?;
        seats.state = next;
        drop(seats);
        Ok(match loaded {
            Ok(model) => Ok(Passed { report, model }),
            // It was swept meanwhile, since it was nobody's; it is fetched again.
            Err(reason) if !place.path.is_dir() => return Err(Later::new(reason)),
            Err(reason) => Err(refused("load", reason, Some(identity), named)),
        })
    }

    /// Gives a bundle its place: the slot, the state, the driver, the record, in this order. A cut in between leaves the
    /// old one before the state is written, and the new one after.
    async fn install(
        &mut self,
        home: &Home,
        place: &Place,
        passed: Passed,
        (target, begun): (Target, i64),
    ) -> Result<(), Later> {
        let Passed { report, model } = passed;
        let identity = report.identity;
        let new = Installed {
            digest: identity,
            name: report.name,
            version: report.version,
            registry_version: target.number,
            model_digest: model.model_digest().to_string(),
            background_digest: model.background_digest().to_string(),
            signed: report.signed.is_some(),
            since: clock::now().utc.as_micros(),
            after: 0,
            trial: None,
        };
        let (version, cause) = (new.version.clone(), format!("alias {}", self.alias));
        // From here on nobody sweeps what no state names yet.
        let mut seats = self.model.seats.lock().await;
        // Meanwhile others may have had their turn.
        let refused_since = |one: &Refused| one.digest.as_ref() == Some(&new.digest) && one.at >= begun;
        let runs_already = seats.state.active.as_ref().is_some_and(|active| active.digest == new.digest);
        if seats.state.is_downgrade(&new.digest, &new.version).is_some()
            || seats.state.refused.iter().any(refused_since)
            || (self.seat == Seat::Challenger && runs_already)
        {
            return Err(Later::new("another bundle took its place meanwhile; the registry is looked at again"));
        }
        if place.is_draft {
            let (home, path, digest) = (home.clone(), place.path.clone(), new.digest.clone());
            let publishing = tokio::task::spawn_blocking(move || home.publish(&path, &digest));
            let published = publishing.await.unwrap_or_else(|_| Err(std::io::Error::other("it failed from within")));
            published.map_err(|error| Later::new(format!("the bundle cannot be kept: {error}")))?;
        }
        self.rollout
            .seat(&self.model, &mut seats, home, self.seat, (new, model), Some((&self.alias, target)), &cause)
            .await
            .map_err(Later::new)?;
        tracing::info!(model = self.name(), seat = self.seat.as_str(), version, "a bundle took its place");
        self.senseless = None;
        Ok(())
    }

    async fn refuse(&self, home: &Home, target: Target, refused: Refused) -> Result<(), Later> {
        tracing::warn!(
            model = self.name(),
            alias = self.alias,
            check = refused.check,
            reason = refused.reason,
            "a bundle is refused"
        );
        let mut seats = self.model.seats.lock().await;
        let mut next = seats.state.clone();
        next.refuse(&self.alias, target, refused);
        write(home, &next).map_err(Later::new)?;
        seats.state = next;
        self.rollout.tell(&self.model, &mut seats);
        self.model.show(&seats);
        Ok(())
    }

    /// What came makes no sense; once is a reason to look again, thrice is the bundle's own fault.
    async fn senseless(&mut self, home: &Home, target: Target, check: &str, reason: String) -> Result<(), Later> {
        let before = self.senseless.take().filter(|(known, _)| *known == target).map_or(0, |(_, times)| times);
        if before + 1 < TRIES {
            self.senseless = Some((target, before + 1));
            return Err(Later::new(reason));
        }
        let refused = Refused {
            digest: target.digest.clone(),
            version: None,
            registry_version: target.number,
            check: check.to_owned(),
            reason,
            at: clock::now().utc.as_micros(),
        };
        self.refuse(home, target, refused).await
    }
}

/// Where a bundle lies while it is checked.
struct Place {
    path: PathBuf,
    is_draft: bool,
}

enum Trouble {
    Later(Later),
    Senseless(String),
}

/// Whether a text can name a slot.
fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn sweep(home: &Home, state: &super::State) {
    if let Err(error) = tokio::task::block_in_place(|| home.sweep(state)) {
        tracing::warn!(%error, "bundles that are no longer needed could not be removed");
    }
}

impl Rollout {
    /// Gives a bundle that is in its slot a place: on disk, then in the driver, then on record.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the one step")]
    pub(super) async fn seat(
        &self,
        followed: &Followed,
        seats: &mut super::Seats,
        home: &Home,
        seat: Seat,
        (mut new, model): (Installed, Arc<Model>),
        alias: Option<(&str, Target)>,
        cause: &str,
    ) -> Result<(), String> {
        let last = self.0.buffer.latest(Stream::Predictions, None, 1).unwrap_or_default();
        new.after = last.first().map_or(0, |record| record.sequence);
        let mut next = seats.state.clone();
        next.accept(seat, new, alias, cause);
        write(home, &next)?;
        seats.state = next;
        match seat {
            Seat::Champion => {
                let before = seats.champion.replace(model);
                seats.before =
                    before.and_then(|old| super::judge::withheld_share(&self.0.vitals.recent(&followed.running(&old))));
                if seats.state.challenger.is_none() {
                    seats.challenger = None;
                }
            }
            Seat::Challenger => seats.challenger = Some(model),
        }
        if let Some(model) = seats.at(seat) {
            self.0.vitals.forget(&followed.running(model));
        }
        seats.since.insert(seat, Instant::now());
        self.make(followed, seats).await;
        self.tell(followed, seats);
        sweep(home, &seats.state);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_spread_and_no_name_leads_out_of_the_folder() {
        for _ in 0..100 {
            let wait = jittered(Duration::from_secs(10));
            assert!(wait >= Duration::from_secs(9) && wait <= Duration::from_secs(11), "{wait:?}");
        }
        assert!(is_digest(&"0a".repeat(32)));
        for text in ["", "../x", &"0A".repeat(32), &"0a".repeat(33), "."] {
            assert!(!is_digest(text), "{text}");
        }
    }
}
