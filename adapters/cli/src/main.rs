//! `evergrant`: keeps OAuth 2.0 grants to Intuit (QuickBooks) alive.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod args;
mod clock;
mod commands;
mod config;
mod connect;
mod demo;
mod discovery;
mod doctor;
mod driver;
mod emulator;
mod failure;
mod journal;
mod loopback;
mod output;
mod report;
mod sign_in;
mod status;
mod whoami;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use evergrant_ureq::{Client, Options};

use crate::args::{Cli, Command};
use crate::clock::MachineClock;
use crate::config::Config;
use crate::driver::Driver;
use crate::failure::Result;
use crate::journal::Journal;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version end well; all else is usage, which is 2 as everywhere.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::fail(&failure);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Demo => demo::run(),
        Command::Emulator(arguments) => emulator::run(arguments),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "evergrant", &mut std::io::stdout());
            Ok(())
        }
        Command::Doctor(arguments) => doctor::run(&cli.global, &arguments),
        command => with_grants(&cli.global, &command),
    }
}

/// The commands that need keys and a vault.
fn with_grants(global: &args::Global, command: &Command) -> Result<()> {
    let mut config = Config::load(global)?;
    let http = Client::new(Options::of(&config.provider.view()));
    discovery::apply(&mut config, &http)?;
    let provider = config.provider.view();
    let (redirect_uris, further_scopes) = config.lists();
    let app = config.app(&provider, &redirect_uris, &further_scopes)?;
    let vault = config.vault()?;
    let driver = Driver {
        app: &app,
        vault: &vault,
        http: &http,
        clock: &MachineClock,
        journal: &Journal::beside_the_vault(&config.home),
        patience_seconds: global.wait,
    };
    driver.sweep()?;
    match command {
        Command::Connect(arguments) => connect::run(&config, &driver, arguments),
        Command::Token(arguments) => commands::token(&driver, arguments),
        Command::Call(arguments) => commands::call(&driver, arguments),
        Command::Status(arguments) => status::run(&driver, arguments),
        Command::Refresh(arguments) => commands::refresh(&driver, arguments),
        Command::Whoami(arguments) => whoami::run(&driver, arguments),
        Command::Disconnect(arguments) => commands::disconnect(&driver, arguments),
        Command::Demo | Command::Emulator(_) | Command::Completions { .. } | Command::Doctor(_) => Ok(()),
    }
}
