//! What all signers share: trust, watermarks, verify before signing, replayed answers.
//!
//! A signer never signs bytes that it is handed. Every request is typed and carries its evidence; the signer checks it
//! against its own pinned root chain and its own state, builds the document itself, stores it durably together with its
//! signature, and only then lets it out.
//!
//! - *Trust* ([`Trust`]): pinned once to a root 1 that names the key, which was made in this state directory; each
//!   later root is followed by the signer itself. Delegations come from a document that the root's offline keys signed.
//! - *Base and watermark* ([`RoleState`], `rules`): a new version is above both and at most 16 higher; neither ever
//!   falls.
//! - *Budget* ([`Budget`]): over time, a role rises by four versions a second, after a burst; so does what is shown as
//!   evidence.
//! - *Replay* ([`Fingerprint`], [`Signer::sign`]): the same request is answered with the same bytes; another request
//!   for a version already signed is refused for ever. An answer is kept until a later request touches one of its
//!   roles.
//! - *Time* (`times`): no expiry beyond the configured lifetime, no signature after the clock went back or jumped
//!   forward; an operator resets what a wrong clock left behind ([`reset_clock`]).
//! - *A restored disk*: a document validly signed by the own key that the state does not know ends all signing.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `error`: why a signer refuses
//! 2. `parallel`: work on all cores
//! 3. `detach`: work that goes on without its caller
//! 4. `budget`: how fast versions may rise
//! 5. `rows`: what is kept
//! 6. `times`: what is known of the time
//! 7. `config`: the settings of all signers
//! 8. `rules`: versions and expiries
//! 9. `trust`: whom a signer believes
//! 10. `state`: what is remembered
//! 11. `key`: the key of a state directory
//! 12. `fingerprint`: what identifies a request
//! 13. `session`: a request under way
//! 14. `answer`: what is answered
//! 15. `metrics`: what is counted
//! 16. `signer`: nothing leaves before it is durable
//! 17. `timekeeping`: whether the clock is believed
//! 18. `describe`: what a signer says of itself
//! 19. `pin`: the first root
//! 20. `load`: state transfer that proves itself
//! 21. `audit`: what is checked at start
//! 22. `reset`: what a wrong clock left behind
//! 23. `grpc`: the door of all signers
//! 24. `service`: open, serve, stop
//! 25. `testing`: what tests share
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod answer;
mod audit;
mod budget;
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
mod reset;
pub mod rows;
mod rules;
mod service;
mod session;
mod signer;
mod state;
#[cfg(feature = "testing")]
pub mod testing;
mod timekeeping;
mod times;
mod trust;

pub use answer::{Answer, RoleAnswer};
pub use budget::Budget;
pub use config::{REQUESTS_MAX, SignerConfig, SignerConfigRaw, SignerDefaults};
pub use detach::blocking;
pub use error::{Error, Result};
pub use fingerprint::Fingerprint;
pub use key::StartError;
pub use reset::{Reset, reset_clock};
pub use rows::RoleState;
pub use service::{RunError, Service};
pub use session::{Body, Built, Made, Remember, Sealed, Session};
pub use signer::Signer;
pub use state::State;
pub use trust::{Delegator, Trust};
