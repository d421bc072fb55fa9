//! explaind: machine learning on factory gateways that explains itself.

mod backoff;
mod buffer;
mod clock;
mod mailbox;
mod registry;
mod source;
mod sync;
mod telemetry;
mod web;

fn main() {}
