//! Handles for tests, of a repository in the flat layout whose signers nobody reaches.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rand::{SeedableRng as _, rngs::StdRng};
use rstuf_runtime::{Clock, Metrics, Readiness, Shutdown};
use rstuf_store::Store;

use super::Handles;
use crate::{
    effects::Effects,
    ids::Ids,
    journal::Journal,
    published::{Published, testing::repository},
    publisher::Publisher,
    signers::{Endpoint, Signers},
    tasks::Tasks,
    troubles::Troubles,
};

/// Over what the store remembers, and what is published there.
pub(crate) fn handles(store: Store, publisher: Arc<dyn Publisher>, metrics: &Metrics) -> Handles {
    let journal = Journal::open(store, metrics).unwrap();
    let published = Published::load(&journal, publisher.clone()).unwrap();
    published.set_repository(repository("flat"));
    published.set_started();
    let (clock, _) = Clock::manual("2027-01-01T00:00:00Z".parse().unwrap());
    let (shutdown, nowhere) = (Shutdown::new(), "http://127.0.0.1:1");
    let readiness = Readiness::new(shutdown.clone());
    let endpoints =
        [(); 3].map(|()| Endpoint { uri: nowhere.to_owned(), channel: rstuf_runtime::connect(nowhere).unwrap() });
    Handles {
        tasks: Tasks::new(journal.clone(), metrics),
        signers: Signers::new(endpoints, readiness.clone()),
        steady: clock.clone(),
        clock,
        ids: Ids::new(StdRng::seed_from_u64(1)),
        effects: Effects::new(metrics, Arc::new(|_, _| None)),
        troubles: Troubles::new(readiness),
        shutdown,
        journal,
        published,
        publisher,
    }
}
