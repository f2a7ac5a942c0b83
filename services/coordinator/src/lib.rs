//! The coordinator: takes submissions in, batches them, has signers sign, and publishes. It holds no key.
//!
//! ```text
//! grpc -> intake -> journal          acknowledged means fsynced
//!           |
//!         queue -> batcher           step 1: the targets signer applies the changes
//!                     |
//!                   lane             steps 2 to 5: snapshot, timestamp, publish, finish
//!                     |
//!                 publisher          write, barrier, replace
//! ```
//!
//! From bottom to top; a module uses only those before it in this list, but for `error`, which names the types that it
//! speaks of:
//!
//! 1. `error`: what can go wrong, and what callers are told
//! 2. `blocking`: work that blocks
//! 3. `backoff`: waiting between attempts
//! 4. `pace`: bounds publications, and the bytes that they write, a second
//! 5. `space`: what the disks leave free for what can't wait
//! 6. `config`: the settings
//! 7. `ids`: ids of tasks, batches and runs
//! 8. `effects`: what happens outside the process, and where a test may stop it
//! 9. `troubles`: what keeps work from going on, and who is told
//! 10. `journal`: what must not be forgotten; the only module that knows keys and bytes of its rows
//! 11. `tasks`: what became of each request, and who watches
//! 12. `signers`: calls to the signers
//! 13. `publisher`: where published metadata goes
//! 14. `published`: what clients see now: repository, list of artifacts, what is superseded
//! 15. `verdict`: what is to be done about a signer's refusal
//! 16. `fitness`: whether a signer can sign for the repository
//! 17. `handles`: one of each of these, for everybody above
//! 18. `watch`: what is looked at while nobody asks
//! 19. `collect`: fetches what signers signed and the journal does not know
//! 20. `intake`: requests are acknowledged, and wait in the queue
//! 21. `batch`: what a batch is
//! 22. `lane`: snapshot, timestamp, until clients see it
//! 23. `batcher`: targets
//! 24. `start`: what comes before all that
//! 25. `metrics`: what is worked out when somebody asks for metrics
//! 26. `grpc`: messages in, checked types out, and back
//! 27. `coordinator`: everything put together
//!
//! Messages of gRPC are known to `grpc`, to `signers`, and to `journal::parts`, `journal::repeated` and
//! `journal::results`, which keep some as they are encoded.

mod backoff;
mod batch;
mod batcher;
mod blocking;
mod collect;
mod config;
mod coordinator;
pub mod effects;
mod error;
mod fitness;
mod grpc;
mod handles;
mod ids;
mod intake;
mod journal;
mod lane;
mod metrics;
mod pace;
mod published;
mod publisher;
mod signers;
mod space;
mod start;
mod tasks;
mod troubles;
mod verdict;
mod watch;

pub use config::{Config, ConfigRaw};
pub use coordinator::{Coordinator, Parts};
pub use error::{Action, Error, Result, Used};
pub use journal::forget_damaged;
pub use published::repository::Repository;
pub use signers::{Group, Objection};
