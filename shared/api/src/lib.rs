//! The gRPC interface: generated messages, conversions to checked types, and the one table from error kinds to codes.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `proto`: the generated messages, clients and servers; these come and go through `codec`
//! 2. `limits`: how large they may be
//! 3. `reason`: why a request was refused, for programs
//! 4. `error`: from error kinds to codes and details
//! 5. `count`: the elements of a message that is still bytes
//! 6. `codec`: bytes into messages, once they are counted
//! 7. `convert`: loose messages into checked types, and back
//! 8. `digest`: what tells changes from others
//! 9. `page`: answers that come in pages
//! 10. `request_id`: what makes a request the same one again
//! 11. `signing`: requests to the signers
//! 12. `served`: what a port says of its services

mod codec;
pub mod convert;
mod count;
pub mod digest;
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
