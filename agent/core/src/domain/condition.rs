//! What a gateway raises alerts about that are its own.

use super::alert::Priority;

/// What the gateway raises alerts about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Predictions are refused: the buffer is full of what must not go.
    BufferFull,
    /// The store takes no writes, or fails: predictions are refused.
    StoreDegraded,
    /// The registry's records of this gateway belong to another store: nothing is sent.
    SyncStopped,
    /// The registry had other content under a batch's name; ours was put beside it.
    BatchConflict,
    /// A bundle that the registry names was refused, or taken back.
    ModelRefused,
    /// Nothing is there to run for a model that machines are watched by.
    ModelMissing,
    /// The page's certificate ends soon or has ended, or the one that should take its place cannot be used.
    CertificateEnds,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::BufferFull,
        Self::StoreDegraded,
        Self::SyncStopped,
        Self::BatchConflict,
        Self::ModelRefused,
        Self::ModelMissing,
        Self::CertificateEnds,
    ];

    /// The name of the rule, in the place of a model's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::StoreDegraded => "store_degraded",
            Self::SyncStopped => "sync_stopped",
            Self::BatchConflict => "batch_conflict",
            Self::ModelRefused => "model_refused",
            Self::ModelMissing => "model_missing",
            Self::CertificateEnds => "certificate_ends",
        }
    }

    /// The condition of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|condition| condition.as_str() == name)
    }

    /// How urgent it is.
    pub fn priority(self) -> Priority {
        match self {
            Self::BufferFull | Self::StoreDegraded | Self::ModelMissing => Priority::High,
            Self::SyncStopped | Self::BatchConflict | Self::ModelRefused | Self::CertificateEnds => Priority::Medium,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for condition in Condition::ALL {
            assert_eq!(Condition::named(condition.as_str()), Some(condition));
        }
        assert_eq!(Condition::named("press-failure"), None);
    }
}
