//! The gRPC interface: generated messages, conversions to checked types, and the one table from error kinds to codes.

pub mod convert;
mod error;
pub mod limits;
pub mod page;
pub mod proto;
mod reason;
mod request_id;
mod served;
pub mod signing;

pub use error::{ErrorKind, Kinded, Reason, Violation, status, violations};
pub use reason::Refusal;
pub use request_id::{NoRequestId, RequestId};
pub use rstuf_tuf::DocumentRef;
pub use served::descriptors;
