//! Opening a listening socket.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Why a socket is not listening.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Anybody on the network could read and change what passes.
    #[error(
        "listen address {address} is not a loopback address and this listener speaks plaintext: use 127.0.0.1 or [::1], \
         or allow it with --insecure-plaintext"
    )]
    Plaintext {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system refused.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Checks that `address` may be listened on in plaintext: a loopback address, or any with `insecure_plaintext`.
///
/// # Errors
/// [`Error::Plaintext`].
pub fn check(address: SocketAddr, insecure_plaintext: bool) -> Result<(), Error> {
    if address.ip().to_canonical().is_loopback() || insecure_plaintext {
        return Ok(());
    }
    Err(Error::Plaintext { address })
}

/// Listens on `address`; port 0 picks a free one. Without `insecure_plaintext` only loopback addresses are allowed.
///
/// # Errors
/// [`Error::Plaintext`] before anything is opened; [`Error::Bind`] where the system refuses.
pub async fn bind(address: SocketAddr, insecure_plaintext: bool) -> Result<TcpListener, Error> {
    check(address, insecure_plaintext)?;
    TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })
}
