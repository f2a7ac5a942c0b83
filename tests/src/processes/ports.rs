//! Ports for services that are started again at the same ones.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Context as _;
use rand::RngExt as _;

/// Below the range from which systems pick ports of outgoing connections, which would take one while its service is
/// down.
const PORTS: Range<u16> = 10_000..30_000;

/// One of `PORTS` at which nobody listens, and which this process was not given before.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> anyhow::Result<u16> {
    // How many were looked at, and where the first was.
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static FIRST: OnceLock<usize> = OnceLock::new();
    let first = *FIRST.get_or_init(|| rand::rng().random_range(0..PORTS.len()));
    // Never the same twice: whoever got it may not have opened it yet, or again.
    let ports = (0..PORTS.len()).map(|_| first + ASKED.fetch_add(1, Ordering::Relaxed));
    let mut ports = ports.filter_map(|port| PORTS.clone().nth(port % PORTS.len()));
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).context("no free port")
}
