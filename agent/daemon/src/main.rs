//! explaind: machine learning on factory gateways that explains itself.

mod address;
mod app;
mod backoff;
mod broker;
mod buffer;
mod change;
mod cli;
mod clock;
mod condition;
mod config;
mod driver;
mod explainer;
mod folder;
mod live;
mod lookout;
mod mailbox;
mod pace;
mod pseudonym;
mod publish;
mod question;
mod rates;
mod registry;
mod rollout;
mod secret;
mod source;
mod sync;
mod telemetry;
mod timekeeper;
mod tls;
mod vitals;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    telemetry::log_panics();
    match std::panic::catch_unwind(cli::main) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.report(),
        Err(panic) => cli::Failure::internal(panic.as_ref()).report(),
    }
}
