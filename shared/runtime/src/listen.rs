//! Opening a listening socket.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted: a thousand clients that come at once must not wait a second to try again.
const BACKLOG: u32 = 4_096;

/// Why a socket is not listening.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Anybody on the network could read and change what passes.
    #[error(
        "listen address {address} is not a loopback address and this listener speaks plaintext: \
         use 127.0.0.1 or [::1], \
         or allow it with --insecure-plaintext"
    )]
    Plaintext {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The system refused.
    #[error("cannot listen on {address}{}", advice(.source))]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

fn advice(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::AddrInUse {
        " (stop what has the port, or take port 0 for a free one)"
    } else {
        ""
    }
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
    listen(address).map_err(|source| Error::Bind { address, source })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A service that was stopped is started again at once, whatever connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
