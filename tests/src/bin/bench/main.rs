//! The benchmark: how fast, and how big, five real processes are beside what the disk and the signatures cost at least.
//!
//! `cargo run --release --bin bench` builds the five services, runs them in directories of their own under `target/`,
//! prints one table and writes the same as JSON. Nothing here passes or fails by the clock: the table is for people.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod floor;
mod load;
mod mirror;
mod nginx;
mod python;
mod reads;
mod report;
mod run;
mod scenarios;
mod system;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use rstuf_tests::processes;

use crate::{report::Report, scenarios::Scenario};

/// Measures the services against what the disk and the signatures cost at least
#[derive(Debug, Parser)]
struct Options {
    /// Run only the scenarios whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Where the figures are written
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    json: PathBuf,
    /// Few repetitions, and 50,000 artifacts in place of a million: to see that it runs
    #[arg(long)]
    quick: bool,
    /// Name the scenarios, and do nothing
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let all = scenarios::all(options.quick);
    if options.list {
        all.iter().for_each(|scenario| println!("{}", scenario.name()));
        println!("{}", mirror::NAME);
        return Ok(());
    }
    let wanted = |scenario: &Scenario| scenario.is_wanted(options.only.as_deref());
    let scenarios: Vec<Scenario> = all.into_iter().filter(wanted).collect();
    let with_mirror = options.only.as_deref().is_none_or(|only| mirror::NAME.contains(only));
    anyhow::ensure!(with_mirror || !scenarios.is_empty(), "no scenario has that name; --list names them");
    let binaries = processes::binaries().await?;
    let target = binaries.parent().context("the binaries are in no directory")?;
    // All is deleted at the end only: right after thousands of files were deleted, ext4 is slow to create any.
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target)?;
    let mut report = Report::new(floor::Disk::measure(folder.path())?);
    for scenario in &scenarios {
        eprintln!("{}", scenario.name());
        run::run(scenario, folder.path(), &mut report).await.with_context(|| scenario.name())?;
        // Also when a later scenario fails, what was measured stays.
        report.write(&options.json)?;
    }
    if with_mirror {
        eprintln!("{}", mirror::NAME);
        mirror::run(folder.path(), options.quick, &mut report).await.context(mirror::NAME)?;
        report.write(&options.json)?;
    }
    println!("{report}");
    println!("written to {}", options.json.display());
    Ok(())
}
