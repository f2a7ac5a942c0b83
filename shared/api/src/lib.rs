//! The gRPC interface: generated messages, conversions to checked types, and the one table from error kinds to codes.

pub mod convert;
mod error;
pub mod limits;
pub mod proto;
mod reason;

pub use convert::DocumentRef;
pub use error::{ErrorKind, Kinded, Reason, Violation, status, violations};
pub use reason::Refusal;
