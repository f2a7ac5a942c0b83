//! The gRPC interface: generated messages, conversions to checked types, and the one table from error kinds to codes.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `submitted`: the one message that is not generated
//! 2. `proto`: the generated messages, clients and servers; these come and go through `codec`
//! 3. `limits`: how large they may be
//! 4. `reason`: why a request was refused, for programs
//! 5. `error`: from error kinds to codes and details
//! 6. `count`: the elements of a message that is still bytes
//! 7. `codec`: bytes into messages, once they are counted
//! 8. `convert`: loose messages into checked types, and back
//! 9. `plain`: how nearly every change looks while it is bytes
//! 10. `digest`: what tells changes from others
//! 11. `page`: answers that come in pages
//! 12. `request_id`: what makes a request the same one again
//! 13. `signing`: requests to the signers
//! 14. `served`: what a port says of its services

mod codec;
pub mod convert;
mod count;
pub mod digest;
mod error;
pub mod limits;
pub mod page;
mod plain;
pub mod proto;
mod reason;
mod request_id;
mod served;
pub mod signing;
mod submitted;

pub use error::{ErrorKind, Kinded, Reason, Violation, status, violations};
pub use reason::Refusal;
pub use request_id::{NoRequestId, RequestId};
pub use rstuf_tuf::DocumentRef;
pub use served::descriptors;
