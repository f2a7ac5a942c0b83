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
//! Modules, from bottom to top: `error`, `parallel`, `detach`, `config`, `rows`, `rules`, `trust`, `state`, `key`, `fingerprint`, `session`,
//! `answer`, `metrics`, `signer`, `describe`, `pin`, `load`, `audit`, `grpc`, `service`, `testing`.
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
