//! What every verb gets.

use rstuf_runtime::Clock;

use crate::{ask::Asker, client::Client, error::Error, output::Output, settings::Settings};

/// What every verb gets.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    /// Where answers go.
    pub(crate) output: Output,
    pub(crate) clock: Clock,
    /// Who can be asked, if anybody.
    pub(crate) asker: Option<Asker>,
}

impl Context {
    /// A client of the coordinator that the settings name.
    ///
    /// # Errors
    /// Where its address is malformed.
    pub(crate) fn client(&self) -> Result<Client, Error> {
        Client::new(&self.settings.server.value, self.output)
    }
}
