//! What the services use.

use std::sync::Arc;

use crate::{handles::Handles, intake::Intake, published::index::Index, start::ceremony::Ceremonies};

/// One of each. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared {
    /// What everybody works with.
    pub handles: Handles,
    /// Takes submissions in.
    pub intake: Intake,
    /// The list of artifacts.
    pub index: Index,
    /// Takes ceremonies in.
    pub ceremonies: Arc<Ceremonies>,
}
