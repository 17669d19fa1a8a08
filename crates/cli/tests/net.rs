//! Between the program and the hub: proxies, authorities, and addresses of the hub's own.

#![allow(clippy::unwrap_used)] // also in the helpers of tests

#[path = "hub/server.rs"]
mod server;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::server::{Files, Hub, Manner, head, here, opened, tiny, told};

fn tls_file(name: &str) -> String {
    here("crates/cli/tests/hub/tls").join(name).to_str().unwrap().to_string()
}

/// A hub behind a certificate that an authority of ours has signed.
fn tls_hub() -> Hub {
    let certificate = CertificateDer::from_pem_file(tls_file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(tls_file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    let files = Files::from([("x-Q4_0.gguf".to_string(), tiny())]);
    Hub::start("https", files, move |stream| {
        let connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    })
}

#[test]
fn authorities_are_those_of_the_environment() {
    let hub = tls_hub();
    let (ca, folder, empty) = (tls_file("ca.pem"), tls_file(""), tempfile::tempdir().unwrap());
    told(&hub.with("org/repo:Q4_0", &[]), 1, &["SSL_CERT_FILE", "authority", "not in the cache"]);
    for (name, value) in [
        ("SSL_CERT_FILE", ca.as_str()),
        ("SSL_CERT_DIR", &folder),
        ("REQUESTS_CA_BUNDLE", &ca),
        ("CURL_CA_BUNDLE", &ca),
    ] {
        let home = tempfile::tempdir().unwrap();
        opened(&hub.with("org/repo:Q4_0", &[(name, value), ("HF_HOME", home.path().to_str().unwrap())]));
    }
    let address = format!("{}/org/repo/resolve/main/x-Q4_0.gguf", hub.address);
    opened(&hub.with(&address, &[("SSL_CERT_FILE", &ca)]));
    told(&hub.with(&address, &[]), 1, &["SSL_CERT_FILE"]);
    told(&hub.with(&address, &[("SSL_CERT_FILE", "/nowhere.pem")]), 2, &["SSL_CERT_FILE", "/nowhere.pem"]);
    told(&hub.with(&address, &[("SSL_CERT_DIR", empty.path().to_str().unwrap())]), 2, &["SSL_CERT_DIR", "none"]);
}

/// A proxy that connects to whom it is told; what it was told.
fn proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = log.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let seen = seen.clone();
            std::thread::spawn(move || {
                let asked = head(&mut stream).unwrap();
                let host = asked.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_string();
                let server = TcpStream::connect(&host).unwrap();
                seen.lock().unwrap().push(host);
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                let (mut from, mut to) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                let _ = std::io::copy(&mut &server, &mut stream);
                // The client's end of the connection, too.
                let _ = stream.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (address, log)
}

#[test]
fn proxies_are_those_of_the_environment() {
    let (hub, ca) = (tls_hub(), tls_file("ca.pem"));
    let (address, log) = proxy();
    let asked = |variables: &[(&str, &str)]| {
        let home = tempfile::tempdir().unwrap();
        let fixed = [("SSL_CERT_FILE", ca.as_str()), ("HF_HOME", home.path().to_str().unwrap())];
        opened(&hub.with("org/repo:Q4_0", &[&fixed, variables].concat()));
        let asked = std::mem::take(&mut *log.lock().unwrap());
        assert!(asked.iter().all(|host| *host == format!("127.0.0.1:{}", hub.port)), "{asked:?}");
        !asked.is_empty()
    };
    let url = format!("http://{address}");
    assert!(asked(&[("HTTPS_PROXY", &url)]));
    assert!(asked(&[("https_proxy", &address), ("HTTPS_PROXY", "http://127.0.0.1:1")]));
    assert!(asked(&[("ALL_PROXY", &format!(" {url}\n"))]));
    assert!(!asked(&[("HTTP_PROXY", &url)]));
    assert!(!asked(&[("HTTPS_PROXY", &url), ("NO_PROXY", "localhost, 127.0.0.1")]));
    assert!(!asked(&[("HTTPS_PROXY", &url), ("no_proxy", "*")]));
    assert!(asked(&[("HTTPS_PROXY", &url), ("NO_PROXY", "127.0.0.2")]));
    told(&hub.with("org/repo:Q4_0", &[("HTTPS_PROXY", "ftp://x")]), 2, &["HTTPS_PROXY"]);
    let gone = [("HTTPS_PROXY", "http://127.0.0.1:1"), ("SSL_CERT_FILE", ca.as_str())];
    told(&hub.with("org/repo:Q4_0", &gone), 1, &["proxy", "not in the cache"]);
}

#[test]
fn a_hub_that_says_nothing_is_waited_for_as_long_as_asked() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hub = Hub::gguf(&[]);
    let address = format!("http://{}", silent.local_addr().unwrap());
    let variables = [("HF_ENDPOINT", address.as_str()), ("HF_HUB_ETAG_TIMEOUT", " 1 ")];
    told(&hub.with("org/repo:Q4_0", &variables), 1, &["timeout", &address, "not in the cache"]);
}

#[test]
fn a_gated_file_opens_by_its_address() {
    let hub = Hub::gguf(&["x-Q4_0.gguf"]);
    let other = Hub::gguf(&["x-Q4_0.gguf"]);
    let address = format!("{}/org/repo/resolve/main/x-Q4_0.gguf", hub.address);
    hub.behaves(Manner::Asks);
    opened(&hub.with(&address, &[("HF_TOKEN", "secret\n")]));
    // The page that shows the file, as it stands in a browser.
    opened(&hub.with(&address.replace("/resolve/", "/blob/"), &[("HF_TOKEN", "secret")]));
    told(&hub.with(&address, &[]), 2, &["401", "set HF_TOKEN"]);
    told(&hub.with(&address, &[("HF_TOKEN", "wrong")]), 2, &["401", "has no access"]);
    told(&hub.with(&address, &[("HF_TOKEN", "secret"), ("HF_HUB_OFFLINE", "1")]), 2, &["HF_HUB_OFFLINE"]);
    // Where it lies is another host's business.
    hub.requests();
    hub.behaves(Manner::Elsewhere(other.port));
    opened(&hub.with(&address, &[("HF_TOKEN", "secret")]));
    let (here, there) = (hub.requests(), other.requests());
    assert!(!here.is_empty() && here.iter().all(|request| request.ends_with(" token")), "{here:?}");
    assert!(!there.is_empty() && !there.iter().any(|request| request.contains("token")), "{there:?}");
    // An address that is not the hub's: no token, and it says so.
    hub.behaves(Manner::Asks);
    let elsewhere = [("HF_TOKEN", "secret"), ("HF_ENDPOINT", "https://huggingface.co")];
    told(&hub.with(&address, &elsewhere), 2, &["401", "the hub's own hosts only", "HF_ENDPOINT"]);
    assert!(!hub.requests().iter().any(|request| request.contains("token")));
    hub.behaves(Manner::Gated);
    let words = ["403", "Access is restricted", "terms", &format!("{}/org/repo", hub.address)];
    told(&hub.with(&address, &[("HF_TOKEN", "secret")]), 2, &words);
}
