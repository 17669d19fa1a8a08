//! Whom to believe who a server is: those that the environment names, or the system's.

use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use super::Variables;
use crate::{Error, Result};

/// In the order in which they count. The first two are OpenSSL's, the others those of Python's
/// requests and of curl.
const NAMED: [&str; 4] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// The certificates in the file or folder that a variable names; without one those of the system,
/// and where it has none, Mozilla's.
///
/// # Errors
/// [`Error::Argument`] when a named file cannot be read or has no certificate.
pub fn authorities(variable: Variables) -> Result<RootCerts> {
    let named = NAMED.iter().find_map(|name| Some((*name, variable(name)?)));
    let Some((name, place)) = named else {
        let system = rustls_native_certs::load_native_certs().certs;
        let system: Vec<_> = system.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        return Ok(if system.is_empty() { RootCerts::WebPki } else { system.into() });
    };
    let refuse = |found: String| Error::Argument {
        field: name.into(),
        expected: "certificates (PEM) of authorities".into(),
        found: format!("{place}: {found}"),
    };
    let mut found = Vec::new();
    // A list of folders, as OpenSSL takes it.
    for place in std::env::split_paths(&place) {
        if place.is_dir() {
            // Other files may lie there, too.
            for entry in std::fs::read_dir(&place).map_err(|error| refuse(error.to_string()))?.flatten() {
                found.extend(read(&entry.path()).unwrap_or_default());
            }
        } else {
            found.extend(read(&place).map_err(|error| refuse(error.to_string()))?);
        }
    }
    if found.is_empty() { Err(refuse("none".into())) } else { Ok(found.into()) }
}

fn read(path: &Path) -> std::io::Result<Vec<Certificate<'static>>> {
    let bytes = std::fs::read(path)?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    Ok(parse_pem(&bytes).filter_map(certificate).collect())
}
