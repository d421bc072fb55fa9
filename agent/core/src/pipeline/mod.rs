//! From samples to decisions, purely.
