//! `explaind check`

use std::path::PathBuf;

use super::failure::{Failure, IO, UNAVAILABLE};
use super::print;
use crate::config::{DEFAULT_PATH, Settings};
use crate::registry::Registry;
use crate::registry::models::Wanted;
use crate::{app, publish, source};

/// What to check.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
    /// Also connect to each source, to the registry and to the broker for results
    #[arg(long)]
    probe: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = Settings::read(&args.config)?;
    let models = app::load(&settings)?;
    app::check(&settings, &models)?;
    let page = app::describe_page(&settings)?;
    print::line(&format!(
        "{}: {} sources, {} signals, {} assets, {} models, all fit together",
        args.config.display(),
        settings.sources.len(),
        settings.signals().len(),
        settings.assets.len(),
        settings.models.len()
    ))?;
    if let Some(page) = page {
        print::line(&page)?;
    }
    if let Some(publish) = &settings.publish {
        for line in publish.describe(&settings.gateway.id, settings.assets.len()) {
            print::line(&line)?;
        }
    }
    if args.probe { probe(&settings) } else { Ok(()) }
}

fn probe(settings: &Settings) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(IO, format!("cannot start: {error}")))?;
    let mut away = Vec::new();
    for config in &settings.sources {
        match runtime.block_on(source::probe(config)) {
            Ok(found) => print::line(&format!("source {}: {found}", config.name))?,
            Err(error) => {
                print::line(&format!("source {}: {error}", config.name))?;
                away.push(config.name.clone());
            }
        }
    }
    if let Some(registry) = &settings.registry {
        match runtime.block_on(Registry::new(registry).probe()) {
            Ok(found) => print::line(&format!("registry: {found}"))?,
            Err(error) => {
                print::line(&format!("registry: {error}"))?;
                away.push("registry".to_owned());
            }
        }
        for model in &settings.models {
            for alias in model.alias.iter().chain(&model.challenger) {
                let asked = Registry::new(registry);
                let wanted = Wanted::Alias(alias.clone());
                match runtime.block_on(asked.version(model.registered(), &wanted)) {
                    Ok(found) => print::line(&format!("model {}: {alias} is version {}", model.name, found.number))?,
                    Err(error) => {
                        print::line(&format!("model {}: {error}", model.name))?;
                        away.push(format!("{}@{alias}", model.name));
                    }
                }
            }
        }
    }
    if let Some(config) = &settings.publish {
        match runtime.block_on(publish::probe(config, &settings.gateway.id)) {
            Ok(found) => print::line(&format!("publish: {found}"))?,
            Err(error) => {
                print::line(&format!("publish: {error}"))?;
                away.push("publish".to_owned());
            }
        }
    }
    if away.is_empty() {
        return Ok(());
    }
    Err(Failure::new(UNAVAILABLE, format!("not reached: {}; see the lines above", away.join(", "))))
}
