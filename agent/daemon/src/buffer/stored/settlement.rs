//! Explanations, or why there are none, as they lie on disk.

use std::sync::Arc;

use explaind_core::domain::explanation::{Attribution, Explanation, Faithfulness, IntervalShare, Method, Settlement};
use explaind_core::domain::prediction::Space;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Frame, Frames};

/// Name, unit, usual range.
type KnownFeature = (Arc<str>, Arc<str>, (f64, f64));

/// What the explanations of one model have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::buffer) struct ExplanationFrame {
    space: Space,
    method: Method,
    features: Vec<KnownFeature>,
}

/// What became of an explanation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::buffer) enum StoredSettlement {
    Explained(StoredExplanation),
    Skipped {
        reason: String,
    },
    Failed {
        reason: String,
    },
    /// An explanation that says more than shares.
    ExplainedFurther(StoredExplanation, Further),
}

/// First step, step after the last, share, standard error.
type StoredInterval = (u32, u32, f64, f64);

/// What some explanations say beside shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::buffer) struct Further {
    /// By the feature's position.
    intervals: Vec<(u32, Vec<StoredInterval>)>,
    /// By the feature's position.
    errors: Vec<(u32, f64)>,
    /// Deletion in the order of the attributions, and in random order.
    faithfulness: Option<(f64, f64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::buffer) struct StoredExplanation {
    id: [u8; 16],
    frame: u32,
    base_value: f64,
    output: f64,
    /// Share and input.
    attributions: Vec<(f64, f64)>,
    /// None of exact explanations, else one per feature.
    standard_errors: Vec<f64>,
    /// By the feature's position.
    categories: Vec<(u32, Arc<str>)>,
    evaluations: u64,
    additivity_gap: f64,
}

/// The frame that a settlement needs.
pub(in crate::buffer) fn frame_of_settlement(settlement: &Settlement) -> Option<Frame> {
    let explanation = settlement.explanation()?;
    Some(Frame::Explanation(ExplanationFrame {
        space: explanation.space,
        method: explanation.method,
        features: explanation
            .attributions
            .iter()
            .map(|attribution| (attribution.feature.clone(), attribution.unit.clone(), attribution.usual))
            .collect(),
    }))
}

impl StoredSettlement {
    /// For the disk. `frame` is the number of what [`frame_of_settlement`] says; 0 when it says nothing.
    pub(in crate::buffer) fn of(settlement: &Settlement, frame: u32) -> Self {
        match settlement {
            Settlement::Explained { id, explanation } => {
                let stored = StoredExplanation::of(*id, explanation, frame);
                match Further::of(explanation) {
                    None => Self::Explained(stored),
                    Some(further) => Self::ExplainedFurther(stored, further),
                }
            }
            Settlement::Skipped { reason } => Self::Skipped { reason: reason.clone() },
            Settlement::Failed { reason } => Self::Failed { reason: reason.clone() },
        }
    }

    /// The settlement, or what is missing to read it.
    pub(in crate::buffer) fn into_domain(self, frames: &impl Frames) -> Result<Settlement, String> {
        let (stored, further) = match self {
            Self::Explained(stored) => (stored, None),
            Self::ExplainedFurther(stored, further) => (stored, Some(further)),
            Self::Skipped { reason } => return Ok(Settlement::Skipped { reason }),
            Self::Failed { reason } => return Ok(Settlement::Failed { reason }),
        };
        let (id, mut explanation) = stored.into_domain(frames)?;
        if let Some(further) = further {
            further.add_to(&mut explanation)?;
        }
        Ok(Settlement::Explained { id, explanation })
    }
}

impl StoredExplanation {
    fn of(id: Uuid, explanation: &Explanation, frame: u32) -> Self {
        let all = &explanation.attributions;
        let exact = all.iter().all(|attribution| attribution.standard_error == 0.0);
        let errors = all.iter().map(|attribution| attribution.standard_error);
        Self {
            id: id.into_bytes(),
            frame,
            base_value: explanation.base_value,
            output: explanation.output,
            attributions: all.iter().map(|attribution| (attribution.value, attribution.input)).collect(),
            standard_errors: if exact { Vec::new() } else { errors.collect() },
            categories: (0..)
                .zip(all)
                .filter_map(|(position, attribution)| Some((position, attribution.category.clone()?)))
                .collect(),
            evaluations: explanation.evaluations,
            additivity_gap: explanation.additivity_gap,
        }
    }

    fn into_domain(self, frames: &impl Frames) -> Result<(Uuid, Explanation), String> {
        let stored = self;
        let frame = frames.frame(stored.frame);
        let Some(Frame::Explanation(frame)) = frame.as_deref() else {
            return Err(format!("its frame {} is missing", stored.frame));
        };
        let width = frame.features.len();
        let errors = &stored.standard_errors;
        if stored.attributions.len() != width || !(errors.is_empty() || errors.len() == width) {
            return Err(format!("it has {} attributions for {width} features", stored.attributions.len()));
        }
        let mut attributions: Vec<Attribution> = frame
            .features
            .iter()
            .zip(&stored.attributions)
            .enumerate()
            .map(|(position, ((feature, unit, usual), (value, input)))| Attribution {
                feature: feature.clone(),
                value: *value,
                standard_error: errors.get(position).copied().unwrap_or(0.0),
                input: *input,
                unit: unit.clone(),
                usual: *usual,
                category: None,
                intervals: Vec::new(),
                error: None,
            })
            .collect();
        for (position, category) in stored.categories {
            at(&mut attributions, position)?.category = Some(category);
        }
        let explanation = Explanation {
            space: frame.space,
            base_value: stored.base_value,
            output: stored.output,
            attributions,
            method: frame.method,
            evaluations: stored.evaluations,
            additivity_gap: stored.additivity_gap,
            faithfulness: None,
        };
        Ok((Uuid::from_bytes(stored.id), explanation))
    }
}

impl Further {
    fn of(explanation: &Explanation) -> Option<Self> {
        let all = || (0..).zip(&explanation.attributions);
        let quad = |share: &IntervalShare| (share.from, share.to, share.value, share.standard_error);
        let further = Self {
            intervals: all()
                .filter(|(_, attribution)| !attribution.intervals.is_empty())
                .map(|(position, attribution)| (position, attribution.intervals.iter().map(quad).collect()))
                .collect(),
            errors: all().filter_map(|(position, attribution)| Some((position, attribution.error?))).collect(),
            faithfulness: explanation.faithfulness.map(|score| (score.deletion, score.random)),
        };
        let empty = further.intervals.is_empty() && further.errors.is_empty() && further.faithfulness.is_none();
        (!empty).then_some(further)
    }

    fn add_to(self, explanation: &mut Explanation) -> Result<(), String> {
        for (position, shares) in self.intervals {
            let shares = shares.into_iter();
            at(&mut explanation.attributions, position)?.intervals = shares
                .map(|(from, to, value, standard_error)| IntervalShare { from, to, value, standard_error })
                .collect();
        }
        for (position, error) in self.errors {
            at(&mut explanation.attributions, position)?.error = Some(error);
        }
        explanation.faithfulness = self.faithfulness.map(|(deletion, random)| Faithfulness { deletion, random });
        Ok(())
    }
}

fn at(attributions: &mut [Attribution], position: u32) -> Result<&mut Attribution, String> {
    let attribution = usize::try_from(position).ok().and_then(|position| attributions.get_mut(position));
    attribution.ok_or_else(|| format!("it says something of feature {position}, which it does not have"))
}
