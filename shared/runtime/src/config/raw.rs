//! What a service says of its settings.

use serde::{Serialize, de::DeserializeOwned};

use super::{common::Process, mistakes::Mistakes};

/// The settings of one service as they are written, before they are checked: a struct of `Option<Setting>` and
/// `Option<Vec<Setting>>` fields (and flattened structs of such), each with `#[arg(long)]`.
pub trait Raw: clap::Args + Serialize + DeserializeOwned + Default {
    /// The service's name, such as `coordinator`: the binary is `rstuf-` + this.
    const SERVICE: &'static str;
    /// The checked settings.
    type Config;

    /// Checks every setting. None exactly when `mistakes` were found.
    fn check(&self, mistakes: &mut Mistakes) -> Option<Self::Config>;

    /// The part of the configuration that [`crate::main`] needs.
    fn process(config: &Self::Config) -> &Process;
}
