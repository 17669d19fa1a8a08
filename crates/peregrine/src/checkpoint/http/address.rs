//! Addresses, as far as redirects and tokens need.

/// Scheme, host and port of an http(s) address, in one spelling: `https://host:443`.
pub fn origin(url: &str) -> Option<String> {
    let uri: ureq::http::Uri = url.parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?.to_ascii_lowercase(), uri.host()?.to_ascii_lowercase());
    let port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    (!host.is_empty()).then(|| format!("{scheme}://{host}:{}", uri.port_u16().unwrap_or(port)))
}

/// The address that `to`, found at `base`, means; `None` for anything but http(s).
pub fn resolve(base: &str, to: &str) -> Option<String> {
    let to = to.trim();
    let (scheme, rest) = base.split_once("://")?;
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let path = &path[..path.find(['?', '#']).unwrap_or(path.len())];
    let named = to.find(':').is_some_and(|at| !to[..at].contains(['/', '?', '#']));
    let found = if named {
        to.to_string()
    } else if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{host}{to}")
    } else if to.starts_with('?') {
        format!("{scheme}://{host}{path}{to}")
    } else {
        let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
        let (name, query) = to.split_at(to.find(['?', '#']).unwrap_or(to.len()));
        format!("{scheme}://{host}{}{query}", without_dots(&format!("{folder}{name}")))
    };
    origin(&found)?;
    Some(found)
}

/// Without `.` and `..` among the names.
fn without_dots(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/').skip(1) {
        match name {
            "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}
