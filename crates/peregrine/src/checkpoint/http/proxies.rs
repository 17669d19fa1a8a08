//! Which proxy an address goes through: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, except for
//! `NO_PROXY`; names in small letters come first.

use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

use super::Variables;
use crate::{Error, Result};

/// The proxies of the environment.
#[derive(Debug)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<String>,
}

impl Proxies {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`Error::Argument`] for what is no address of a proxy.
    pub fn new(variable: Variables) -> Result<Self> {
        let proxy = |scheme: &str| {
            let names = [format!("{scheme}_proxy"), format!("{scheme}_PROXY").to_uppercase()];
            let Some((name, text)) = names.iter().find_map(|name| Some((name, variable(name)?))) else {
                return Ok(None);
            };
            let address = if text.contains("://") { text.clone() } else { format!("http://{text}") };
            Proxy::new(&address).map(Some).map_err(|_| Error::Argument {
                field: name.clone(),
                expected: "the address of a proxy, as in http://host:8080 or socks5://host:1080".into(),
                // It may have a password in it.
                found: "something else".into(),
            })
        };
        let all = proxy("all")?;
        let except = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        Ok(Self {
            http: proxy("http")?.or_else(|| all.clone()),
            https: proxy("https")?.or(all),
            except: except.split(',').map(|host| host.trim().to_ascii_lowercase()).filter(|h| !h.is_empty()).collect(),
        })
    }

    /// The proxy of an address.
    pub fn of(&self, url: &str) -> Option<&Proxy> {
        let uri: Uri = url.parse().ok()?;
        let (scheme, host) = (uri.scheme_str()?, uri.host()?.to_ascii_lowercase());
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let proxy = if scheme == "https" { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !self.except.iter().any(|entry| matches(entry, scheme, &host, port)))
    }
}

/// Whether an entry of `NO_PROXY` means a host: `*`, a name and all below it, `.name` only what is
/// below, an address, a network.
fn matches(entry: &str, scheme: &str, host: &str, port: u16) -> bool {
    let (wanted, entry) = entry.split_once("://").map_or((None, entry), |(scheme, rest)| (Some(scheme), rest));
    if wanted.is_some_and(|wanted| wanted != scheme && wanted != "all") {
        return false;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        let (network, bits) = entry.split_once('/').map_or((entry, None), |(network, bits)| (network, Some(bits)));
        let network: Option<IpAddr> = network.trim_start_matches('[').trim_end_matches(']').parse().ok();
        match (network, bits.map(str::parse::<u32>)) {
            (Some(network), None) => return network == ip,
            (Some(network), Some(Ok(bits))) => return is_in(ip, network, bits),
            _ => {}
        }
    }
    let (name, wanted) = match entry.rsplit_once(':') {
        Some((name, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            (name, Some(digits))
        }
        _ => (entry, None),
    };
    if wanted.is_some_and(|wanted| wanted != port.to_string()) {
        return false;
    }
    let below = |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
    match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
        Some(name) => below(name),
        None => name == "*" || name == host || below(name),
    }
}

fn is_in(ip: IpAddr, network: IpAddr, bits: u32) -> bool {
    let same = |a: u128, b: u128, width: u32| bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0);
    match (ip, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}
