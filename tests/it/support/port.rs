//! A port for a server that a test starts.

use std::net::{Ipv4Addr, TcpListener};

/// On which nobody on this machine listens now.
pub fn free() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("a bound socket has an address").port()
}
