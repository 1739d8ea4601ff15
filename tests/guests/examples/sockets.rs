//! Opens a socket of its own: imports `wasi:sockets`.

use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

bkhost_test_guests::idle_but_for!("manifests/plain.toml", drop(create_tcp_socket(IpAddressFamily::Ipv4)));
