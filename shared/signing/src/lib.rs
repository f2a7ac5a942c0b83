//! What all signers share: trust, watermarks, verify before signing, replayed answers.
//!
//! A signer never signs bytes that it is handed. Every request is typed and carries its evidence; the signer checks it
//! against its own pinned root chain and its own state, builds the document itself, stores it durably together with its
//! signature, and only then lets it out.
//!
//! - *Trust* ([`Trust`]): pinned once to a root 1 that names the key, which was made in this state directory; each later root
//!   is followed by the signer itself. Delegations come from a document that the root's offline keys signed.
//! - *Base and watermark* ([`RoleState`], `rules`): a new version is above both and at most 16 higher; neither ever falls.
//! - *Replay* ([`Fingerprint`], [`Signer::sign`]): the same request is answered with the same bytes; another request for a
//!   version already signed is refused for ever. An answer is kept until a later request touches one of its roles.
//! - *Time*: no expiry beyond the configured lifetime, no signature after the clock went back.
//! - *A restored disk*: a document validly signed by the own key that the state does not know ends all signing.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `error`: why a signer refuses
//! 2. `parallel`: work on all cores
//! 3. `detach`: work that goes on without its caller
//! 4. `config`: the settings of all signers
//! 5. `rows`: what is kept
//! 6. `rules`: versions and times
//! 7. `trust`: whom a signer believes
//! 8. `state`: what is remembered
//! 9. `key`: the key of a state directory
//! 10. `fingerprint`: what identifies a request
//! 11. `session`: a request under way
//! 12. `answer`: what is answered
//! 13. `metrics`: what is counted
//! 14. `signer`: nothing leaves before it is durable
//! 15. `describe`: what a signer says of itself
//! 16. `pin`: the first root
//! 17. `load`: state transfer that proves itself
//! 18. `audit`: what is checked at start
//! 19. `grpc`: the door of all signers
//! 20. `service`: open, serve, stop
//! 21. `testing`: what tests share
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod answer;
mod audit;
mod config;
mod describe;
mod detach;
mod error;
mod fingerprint;
mod grpc;
mod key;
mod load;
mod metrics;
pub mod parallel;
mod pin;
pub mod rows;
mod rules;
mod service;
mod session;
mod signer;
mod state;
#[cfg(feature = "testing")]
pub mod testing;
mod trust;

pub use answer::{Answer, RoleAnswer};
pub use config::{SignerConfig, SignerConfigRaw, SignerDefaults};
pub use detach::blocking;
pub use error::{Error, Result};
pub use fingerprint::Fingerprint;
pub use key::StartError;
pub use rows::RoleState;
pub use service::{RunError, Service};
pub use session::{Built, Made, Remember, STAGE_BYTES, Sealed, Session};
pub use signer::Signer;
pub use state::State;
pub use trust::{Delegator, Trust};
