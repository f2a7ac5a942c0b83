//! What one peer may hold of what all peers share, so that none takes everything.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;

/// How much of the places one peer may hold where nobody says otherwise, in percent.
pub(crate) const PERCENT_MAX: usize = 50;

/// Who is on the other side: an IPv4 address, or the /64 network of an IPv6 address, which one machine may have whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.into()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self([a, b, c, d, 0, 0, 0, 0].into())
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The places of each peer. Only peers that hold one are kept.
#[derive(Debug)]
pub(crate) struct Peers {
    places_max: usize,
    places: Mutex<HashMap<Peer, Arc<Semaphore>>>,
}

impl Peers {
    /// A peer holds at most this share, rounded up, of the `places` that there are.
    pub(crate) fn share_of(places: usize, percent: usize) -> Self {
        Self { places_max: places.saturating_mul(percent).div_ceil(100).max(1), places: Mutex::default() }
    }

    pub(crate) fn places_max(&self) -> usize {
        self.places_max
    }

    /// Whoever has a permit of this holds a place of the peer's.
    pub(crate) fn places(&self, peer: Peer) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = places.get(&peer) {
            return found.clone();
        }
        // Permits refer to it too.
        places.retain(|_, it| Arc::strong_count(it) > 1);
        places.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(self.places_max))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used)]
    fn a_peer_is_a_machine_and_is_forgotten_when_it_holds_nothing() {
        let peer = |text: &str| Peer::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.2"), peer("192.0.2.1"));
        assert_eq!(peer("2001:db8:0:1:2::3"), peer("2001:db8:0:1::"));
        assert_ne!(peer("2001:db8:0:2::"), peer("2001:db8:0:1::"));

        for (places, percent, most) in [(3, 50, 2), (3, 100, 3), (3, 1, 1), (2_048, 25, 512)] {
            assert_eq!(Peers::share_of(places, percent).places_max(), most);
        }
        let peers = Peers::share_of(3, 50);
        let held: Vec<_> = (0..2).map(|_| peers.places(peer("192.0.2.1")).try_acquire_owned().unwrap()).collect();
        assert!(peers.places(peer("192.0.2.1")).try_acquire_owned().is_err());
        for number in 0..100 {
            let other = format!("192.0.2.{}", 100 + number);
            assert!(peers.places(peer(&other)).try_acquire_owned().is_ok());
            assert!(peers.places.lock().unwrap().len() <= 2);
        }
        drop(held);
        assert!(peers.places(peer("192.0.2.1")).try_acquire_owned().is_ok());
    }
}
