//! Opens a socket of its own: imports `wasi:sockets`.

use bkhost_sdk::Strategy as _;

bkhost_test_guests::idle_but_for!("manifests/plain.toml", drop(std::net::TcpStream::connect("192.0.2.1:80")));
