//! What all signers share: trust, watermarks, verify before signing, replayed answers.
//!
//! A signer never signs bytes that it is handed. Every request is typed and carries its evidence; the signer checks it
//! against its own pinned root chain and its own state, builds the document itself, stores it durably together with its
//! signature, and only then lets it out.
//!
//! - *Trust* ([`Trust`]): pinned once to a root 1 that names the key, which was made in this state directory; each later root
//!   is followed by the signer itself. Delegations come from a document that the root's offline keys signed.
//! - *Base and watermark* ([`RoleState`], [`rules`]): a new version is above both and at most 16 higher; neither ever falls.
//! - *Replay* ([`Fingerprint`], [`Signer::sign`]): the same request is answered with the same bytes; another request for a
//!   version already signed is refused for ever. An answer is kept until a later request touches one of its roles.
//! - *Time*: no expiry beyond the configured lifetime, no signature after the clock went back.
//! - *A restored disk*: a document validly signed by the own key that the state does not know ends all signing.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod answer;
mod config;
mod error;
pub mod grpc;
mod key;
mod load;
mod metrics;
pub mod parallel;
mod request;
pub mod rules;
mod service;
mod session;
mod signer;
pub mod state;
#[cfg(feature = "testing")]
pub mod testing;
mod trust;

pub use answer::{Answer, RoleAnswer};
pub use config::{SignerConfig, SignerConfigRaw, SignerDefaults};
pub use error::{Error, Result};
pub use key::StartError;
pub use request::{Fingerprint, Header, Revision};
pub use service::{RunError, Service};
pub use session::{Built, Made, Remember, STAGE_BYTES, Sealed, Session};
pub use signer::{Description, RoleDescription, Settings, Signer};
pub use state::{Known, RoleState, State};
pub use trust::{Delegator, Trust};
