//! HTTPS: who is trusted, and who is not. The key and the certificates in `tls/` are for this test alone.

use std::io::{Read, Write};
use std::net::TcpListener;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::application::Application;

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/application/bitbucket/tests/tls/ca.pem");

/// Answers the version over TLS, to whoever trusts its certificate, which is for 127.0.0.1; returns its URL.
fn serve(host: &str) -> String {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((host, 0)).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((tcp, _)) = listener.accept() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, tcp);
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                request.push(byte[0]);
            }
            let body = r#"{"version":"9.4.1","displayName":"Bitbucket"}"#;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    url
}

#[tokio::test]
async fn a_ca_file_is_trusted() {
    let mut settings = settings(&serve("127.0.0.1"));
    settings.ca_file = Some(CA.into());
    assert_eq!(Bitbucket::new(settings).unwrap().version().await.unwrap().as_deref(), Some("9.4.1"));
}

#[tokio::test]
async fn a_stranger_is_not_trusted() {
    // Without the CA, and with it under an address that the certificate does not name.
    for (host, ca) in [("127.0.0.1", None), ("127.0.0.2", Some(CA.into()))] {
        let mut settings = settings(&serve(host));
        settings.ca_file = ca;
        let error = match Bitbucket::new(settings) {
            Ok(bitbucket) => bitbucket.version().await.unwrap_err(),
            // A machine without any certificate of its own cannot even set up.
            Err(error) => error,
        };
        assert!(error.causes().iter().any(|cause| cause.to_lowercase().contains("certificate")), "{error:?}");
        assert!(error.hint_text().unwrap().contains("certificate"), "{error:?}");
    }
}
