//! Words that stand for something, as schemas: what a member or a parameter may be, by the types that the words come from.

use std::borrow::Cow;

use explaind_core::domain::alert::{AlarmState, Priority, Suppression};
use explaind_core::domain::prediction::{Role, Space};
use explaind_core::domain::record::Stream;
use explaind_core::domain::sample::Quality;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::buffer::Part;

/// States beside those of ISA-18.2 that a listing of alerts may be asked for.
pub(super) const OPEN: &str = "open";
/// The other.
pub(super) const CLOSED: &str = "closed";

/// Names the words that a type stands for.
macro_rules! words {
    ($($(#[$docs:meta])* $name:ident = $words:expr;)*) => {
        $(
            $(#[$docs])*
            pub(crate) enum $name {}

            impl JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    let words = Vec::<&str>::from_iter($words);
                    json_schema!({ "type": "string", "enum": words })
                }
            }
        )*
    };
}

words! {
    /// Of an alert.
    States = AlarmState::ALL.map(AlarmState::as_str);
    /// That a listing of alerts may be asked for.
    Askable = [OPEN, CLOSED].into_iter().chain(AlarmState::ALL.map(AlarmState::as_str));
    /// What lies over an alert.
    Suppressions = [Suppression::None, Suppression::ByDesign, Suppression::Shelved, Suppression::OutOfService].map(Suppression::as_str);
    /// How urgent an alert is.
    Priorities = PRIORITIES.map(Priority::as_str);
    /// Which part a model plays.
    Roles = [Role::Champion, Role::Shadow, Role::Fallback].map(Role::as_str);
    /// In which space an explanation is.
    Spaces = [Space::Margin, Space::Probability, Space::Value].map(Space::as_str);
    /// Of inputs.
    Qualities = [Quality::Good, Quality::Uncertain, Quality::Bad].map(Quality::as_str);
    /// Of records.
    Streams = Stream::ALL.map(Stream::as_str);
    /// Of what `explaind buffer verify` looks at.
    Parts = Part::all().into_iter().map(Part::as_str);
    /// Whether a model said something.
    Outcomes = ["predicted", "withheld"];
    /// What became of an explanation.
    Explained = ["pending", "exact", "estimated", "skipped", "failed"];
}

/// From low to critical.
pub(super) const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Medium, Priority::High, Priority::Critical];
