//! The gRPC interface: generated messages, conversions to checked types, and the one table from error kinds to codes.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `proto`: the generated messages, clients and servers
//! 2. `limits`: how large they may be
//! 3. `reason`: why a request was refused, for programs
//! 4. `error`: from error kinds to codes and details
//! 5. `convert`: loose messages into checked types, and back
//! 6. `page`: answers that come in pages
//! 7. `request_id`: what makes a request the same one again
//! 8. `signing`: requests to the signers
//! 9. `served`: what a port says of its services

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
