//! Sends a request although its manifest asks for no server.

use wasip2::http::{outgoing_handler, types};

fn send() {
    let request = types::OutgoingRequest::new(types::Fields::new());
    drop(outgoing_handler::handle(request, None));
}

bkhost_test_guests::idle_but_for!("manifests/plain.toml", send());
