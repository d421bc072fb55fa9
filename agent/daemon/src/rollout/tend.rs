//! Watches the models that run: takes back what does not do well, and lets a challenger take its place when the rule says so.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use explaind_core::domain::feedback::{Feedback, Verdict};
use explaind_core::domain::prediction::{Outcome, Prediction, Role};
use explaind_core::domain::record::{Body, Record, Stream};

use super::failing::Deed;
use super::judge::{self, Comparison, Verdicts};
use super::slots::Home;
use super::state::{Installed, Seat};
use super::{Followed, Rollout, Seats, rest, write};
use crate::buffer::Buffer;
use crate::vitals::{Recent, Running};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);
/// How often people's verdicts are read.
const VERDICTS_EVERY: Duration = Duration::from_secs(10);
/// The newest pieces of feedback that are looked at.
const FEEDBACK: usize = 500;
/// Where a challenger's prediction of the same moment is looked for, behind the champion's.
const NEARBY: usize = 8;

/// Looks until it is time to stop.
pub(super) async fn run(rollout: Rollout) {
    let stop = rollout.0.stop.clone();
    let mut said = Vec::new();
    let mut read_at: Option<Instant> = None;
    while !rest(&stop, EVERY).await {
        if read_at.is_none_or(|at| at.elapsed() >= VERDICTS_EVERY) {
            let buffer = rollout.0.buffer.clone();
            said = tokio::task::spawn_blocking(move || verdicts(&buffer)).await.unwrap_or_default();
            read_at = Some(Instant::now());
        }
        if rollout.0.stops_to_make.load(Ordering::Relaxed) {
            rollout.enact_stops().await;
        }
        for model in &rollout.0.models {
            rollout.tend(model, &said).await;
        }
    }
}

impl Rollout {
    async fn tend(&self, model: &Followed, said: &[Judged]) {
        let Some(home) = &model.home else { return };
        // Whoever changes something here now has looked himself.
        let Ok(mut seats) = model.seats.try_lock() else { return };
        if seats.to_make {
            self.make(model, &mut seats).await;
        }
        self.tell(model, &mut seats);
        // The newest first.
        let mut all_well = true;
        for seat in [Seat::Challenger, Seat::Champion] {
            match self.watch(model, home, &mut seats, seat, said).await {
                Found::Well => {}
                // What was seen of it still holds; and it is not the time to promote anything.
                Found::Stuck => all_well = false,
                Found::TakenBack => {
                    // Whatever was wrong may have troubled the other, too: it begins anew.
                    for runs in seats.champion.iter().chain(&seats.challenger) {
                        self.0.vitals.forget(&model.running(runs));
                    }
                    return;
                }
            }
        }
        if all_well {
            self.compare(model, home, &mut seats, said).await;
        }
    }

    /// Takes back what does not do well, and notes what has proved itself.
    async fn watch(&self, model: &Followed, home: &Home, seats: &mut Seats, seat: Seat, said: &[Judged]) -> Found {
        let deed = Deed::TakingBack(seat);
        let Some(runs) = seats.at(seat).cloned() else {
            seats.failing.over(deed);
            return Found::Well;
        };
        let recent = self.0.vitals.recent(&model.running(&runs));
        let installed = seats.state.at(seat);
        let after = installed.map_or(u64::MAX, |installed| installed.after);
        let on_trial = installed.is_some_and(|installed| installed.trial.is_some());
        // A challenger decides on canaries; what cannot be told from the champion is not held against it.
        let told_apart = seat == Seat::Champion
            || seats.champion.as_ref().is_none_or(|champion| model.running(champion) != model.running(&runs));
        let verdicts = match told_apart {
            true => verdicts_of(said, &model.running(&runs), Role::Champion, after),
            false => Verdicts::default(),
        };
        let before = match seat {
            Seat::Champion => seats.before,
            Seat::Challenger => seats
                .champion
                .as_ref()
                .and_then(|champion| judge::withheld_share(&self.0.vitals.recent(&model.running(champion)))),
        };
        let before = before.filter(|_| on_trial);
        // With nothing to go back to, what is withheld is told with each prediction.
        let has_other = seat == Seat::Challenger || seats.state.previous.is_some();
        if let Some(breach) = judge::breach(&recent, before, model.config.latency, verdicts).filter(|_| has_other) {
            if !seats.failing.is_due(deed, Instant::now()) {
                return Found::Stuck;
            }
            let Err(error) = self.take_back(model, seats, seat, breach.check, &breach.reason).await else {
                seats.failing.over(deed);
                return Found::TakenBack;
            };
            if seats.failing.failed(deed, &error, Instant::now()) {
                tracing::error!(
                    model = &*model.config.name,
                    seat = seat.as_str(),
                    reason = breach.reason,
                    error,
                    "a bundle that does not do well could not be taken back"
                );
            }
            return Found::Stuck;
        }
        seats.failing.over(deed);
        self.prove(model, home, seats, seat, &recent);
        Found::Well
    }

    fn prove(&self, model: &Followed, home: &Home, seats: &mut Seats, seat: Seat, recent: &Recent) {
        let on_trial = seats.state.at(seat).is_some_and(|installed| installed.trial.is_some());
        let deed = Deed::Proving(seat);
        if !on_trial || !judge::has_proved(recent, seats.runs(seat), model.config.trial) {
            seats.failing.over(deed);
            return;
        }
        if !seats.failing.is_due(deed, Instant::now()) {
            return;
        }
        let mut next = seats.state.clone();
        next.prove(seat);
        match write(home, &next) {
            Ok(()) => {
                seats.state = next;
                seats.failing.over(deed);
            }
            Err(error) => {
                if seats.failing.failed(deed, &error, Instant::now()) {
                    tracing::warn!(
                        model = &*model.config.name,
                        error,
                        "that a bundle has proved itself is noted later"
                    );
                }
            }
        }
        self.tell(model, seats);
        model.show(seats);
    }

    /// Compares champion and challenger, and promotes by the rule.
    async fn compare(&self, model: &Followed, home: &Home, seats: &mut Seats, said: &[Judged]) {
        let (Some(champion), Some(challenger)) = (seats.champion.clone(), seats.challenger.clone()) else { return };
        let keys = (model.running(&champion), model.running(&challenger));
        let pairs = self.0.vitals.pairs(&keys.0, &keys.1);
        let agreement = judge::agreement(&pairs, champion.manifest(), challenger.manifest());
        let (of_champion, of_challenger) = (self.0.vitals.recent(&keys.0), self.0.vitals.recent(&keys.1));
        {
            let mut shown = model.shown.lock().unwrap_or_else(PoisonError::into_inner);
            (shown.agreement, shown.compared) = (agreement, of_challenger.predicted);
        }
        let Some(rule) = &model.config.promotion else { return };
        let Some(installed) = seats.state.challenger.clone() else { return };
        let seen = Comparison {
            champion: &of_champion,
            challenger: &of_challenger,
            agreement,
            runs: seats.runs(Seat::Challenger),
            compared: pairs.len(),
            verdicts: verdicts_of(said, &keys.1, Role::Shadow, installed.after).and(verdicts_of(
                said,
                &keys.1,
                Role::Champion,
                installed.after,
            )),
            latency: model.config.latency,
        };
        let Some(cause) =
            judge::promotes(rule, &seen).filter(|_| seats.failing.is_due(Deed::Promoting, Instant::now()))
        else {
            return;
        };
        let new = Installed { since: crate::clock::now().utc.as_micros(), ..installed };
        match self.seat(model, seats, home, Seat::Champion, (new, challenger), None, &cause).await {
            Ok(()) => seats.failing.over(Deed::Promoting),
            Err(error) if seats.failing.failed(Deed::Promoting, &error, Instant::now()) => {
                tracing::warn!(model = &*model.config.name, error, "a challenger is promoted later");
            }
            Err(_) => {}
        }
    }
}

/// What a look at a bundle came to.
enum Found {
    Well,
    TakenBack,
    /// It does not do well, and could not be taken back.
    Stuck,
}

/// What somebody said of one prediction, as far as it says something of the model that made it.
struct Judged {
    model: Running,
    role: Role,
    /// The prediction's number.
    sequence: u64,
    right: bool,
}

/// What was said of a model since it has its present place: the same file may have been there before, in another bundle.
fn verdicts_of(said: &[Judged], model: &Running, role: Role, after: u64) -> Verdicts {
    let ours = said.iter().filter(|one| one.model == *model && one.role == role && one.sequence > after);
    ours.fold(Verdicts::default(), |so_far, one| match one.right {
        true => Verdicts { confirmed: so_far.confirmed.saturating_add(1), ..so_far },
        false => Verdicts { rejected: so_far.rejected.saturating_add(1), ..so_far },
    })
}

/// What people lately said of each model: of the one that decided, by what they said; of the one beside it, by whether it
/// would have decided as they say.
fn verdicts(buffer: &Buffer) -> Vec<Judged> {
    let mut said = Vec::new();
    let newest = buffer.latest(Stream::Feedback, None, FEEDBACK).unwrap_or_default();
    let feedback = |record: &'_ Record| match &record.body {
        Body::Feedback(feedback) => Some((record.id, feedback.clone())),
        _ => None,
    };
    let all: Vec<_> = newest.iter().filter_map(feedback).collect();
    // The newest word of each person on each prediction.
    let mut spoken = HashSet::new();
    let revised: HashSet<_> = all.iter().filter_map(|(_, feedback)| feedback.revises).collect();
    for (_, feedback) in all.iter().filter(|(id, _)| !revised.contains(id)) {
        if !spoken.insert((feedback.author.clone(), feedback.prediction_id)) {
            continue;
        }
        let Some(right) = says_right(feedback) else { continue };
        let Some(Ok(Some(judged))) = feedback.prediction_id.map(|id| buffer.get(id)) else { continue };
        let Body::Prediction(prediction) = &judged.body else { continue };
        let of = |prediction: &Prediction, right| Judged {
            model: Running::of(prediction),
            role: prediction.role,
            sequence: judged.sequence,
            right,
        };
        said.push(of(prediction, right));
        // The one beside it is right when it says the same of a right prediction, or another of a wrong one.
        said.extend(
            beside(buffer, &judged, prediction).iter().map(|other| of(other, same_side(prediction, other) == right)),
        );
    }
    said
}

/// Whether somebody says that a prediction was right, or wrong; `None` where they cannot tell.
fn says_right(feedback: &Feedback) -> Option<bool> {
    match feedback.verdict? {
        Verdict::Confirm => Some(true),
        Verdict::Reject | Verdict::Correct => Some(false),
        Verdict::Unsure | Verdict::Missed => None,
    }
}

/// What challengers predicted at the same moment.
fn beside(buffer: &Buffer, judged: &Record, prediction: &Prediction) -> Vec<Prediction> {
    let next = buffer.read(Stream::Predictions, judged.sequence, NEARBY).unwrap_or_default();
    let same = next.into_iter().take_while(|record| record.at.monotonic == judged.at.monotonic);
    let shadow = |record: Record| match record.body {
        Body::Prediction(other) if other.role == Role::Shadow && other.asset == prediction.asset => Some(other),
        _ => None,
    };
    same.filter_map(shadow).collect()
}

/// Whether two predictions decide alike: the same class, or, without classes, about the same value.
fn same_side(one: &Prediction, other: &Prediction) -> bool {
    match (&one.outcome, &other.outcome) {
        (Outcome::Predicted(one), Outcome::Predicted(other)) => match (&one.label, &other.label) {
            (Some(one), Some(other)) => one == other,
            _ => judge::are_near(one.value, other.value),
        },
        _ => false,
    }
}
