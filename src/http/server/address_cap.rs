//! How many connections one address has.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// A count per address; cheap to clone. Addresses without connections take no memory.
#[derive(Clone)]
pub(super) struct AddressCap {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    max: usize,
}

/// One connection of an address, until dropped.
pub(super) struct AddressPermit {
    cap: AddressCap,
    address: IpAddr,
}

impl AddressCap {
    pub(super) fn new(max: usize) -> Self {
        Self { counts: Arc::default(), max }
    }

    /// `None` when the address has its share.
    pub(super) fn enter(&self, address: IpAddr) -> Option<AddressPermit> {
        // The last word on IPv6 is the network: a client owns all addresses of its /64.
        let address = network(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if self.max <= *count {
            return None;
        }
        *count += 1;
        Some(AddressPermit { cap: self.clone(), address })
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut counts = self.cap.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_share_back_when_connections_end() {
        let cap = AddressCap::new(2);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let first = cap.enter(address).unwrap();
        let _second = cap.enter(address).unwrap();
        assert!(cap.enter(address).is_none());
        assert!(cap.enter("192.0.2.2".parse().unwrap()).is_some());

        drop(first);

        assert!(cap.enter(address).is_some());
        assert_eq!(cap.counts.lock().unwrap().len(), 1);
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_share() {
        let cap = AddressCap::new(1);
        let _first = cap.enter("2001:db8::1".parse().unwrap()).unwrap();
        assert!(cap.enter("2001:db8::2".parse().unwrap()).is_none());
        assert!(cap.enter("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
