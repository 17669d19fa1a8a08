//! By which names a server without a key may be asked. A page whose own name is made to lead to
//! this machine is of no other origin for its browser: only the name in its requests gives it away.

use axum::http::HeaderMap;
use axum::http::Uri;
use axum::http::header::HOST;

/// Names of this machine, in lower case and without a port.
pub struct Hosts([String; 4]);

impl Hosts {
    /// This machine's, and the name that it listens at.
    pub fn local(host: &str) -> Self {
        let bare = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let named = if bare.contains(':') { format!("[{bare}]") } else { bare };
        Self(["localhost".into(), "127.0.0.1".into(), "[::1]".into(), named])
    }

    /// The name that is not one of them, where there is one. No browser leaves the name out.
    pub fn stranger<'a>(&self, headers: &'a HeaderMap, uri: &'a Uri) -> Option<String> {
        let named = headers.get_all(HOST).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let mut all = named.chain(uri.authority().map(|authority| authority.as_str().into()));
        all.find(|name| !self.allow(name)).map(|name| name.chars().take(80).collect())
    }

    fn allow(&self, authority: &str) -> bool {
        let (name, port) = match authority.rfind(':') {
            // Not one within an address.
            Some(colon) if !authority[colon..].contains(']') => (&authority[..colon], &authority[colon + 1..]),
            _ => (authority, ""),
        };
        port.bytes().all(|byte| byte.is_ascii_digit()) && self.0.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_few_names() {
        let hosts = Hosts::local("Box.Local");
        for own in ["localhost", "LOCALHOST:8318", "127.0.0.1:1", "[::1]", "[::1]:8318", "box.local:8318", "localhost:"]
        {
            assert!(hosts.allow(own), "{own}");
        }
        for strange in [
            "evil.example",
            "localhost.evil.example:8318",
            "127.0.0.1.evil.example",
            "x",
            "",
            "::1",
            "localhost:x",
            "me@localhost",
        ] {
            assert!(!hosts.allow(strange), "{strange}");
        }
        assert!(Hosts::local("[FE80::1]").allow("[fe80::1]:80") && Hosts::local("127.0.0.9").allow("127.0.0.9:80"));
        let with = |value: &'static [u8], uri: &'static str| {
            let headers = HeaderMap::from_iter([(HOST, axum::http::HeaderValue::from_bytes(value).unwrap())]);
            hosts.stranger(&headers, &Uri::from_static(uri))
        };
        assert_eq!(with(b"localhost:8318", "/v1/models"), None);
        assert_eq!(with(b"localhost", "http://evil.example/v1/models").as_deref(), Some("evil.example"));
        assert_eq!(with(b"\xff", "/").as_deref(), Some("\u{fffd}"));
        assert_eq!(hosts.stranger(&HeaderMap::new(), &Uri::from_static("/")), None);
    }
}
