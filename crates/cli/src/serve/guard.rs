//! Who may ask: the key, the origins of pages, and the name by which they ask.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, ORIGIN, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use peregrine_openai::{ApiError, Code};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use super::http::{Shared, failed};

/// Where a page stands to what it asks, as browsers tell it.
const FETCH_SITE: &str = "sec-fetch-site";

/// The key that clients must give; as a digest, so that a comparison tells nothing of its length
/// either.
pub struct Key([u8; 32]);

impl Key {
    pub fn new(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Whether the headers have it. Takes as long whatever they have.
    fn opens(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let Some(given) = given.and_then(bearer) else {
            let message = "no key was given: send the header \"Authorization: Bearer KEY\"";
            return Err(ApiError::new(Code::InvalidKey, message));
        };
        let digest: [u8; 32] = Sha256::digest(given).into();
        match bool::from(self.0.ct_eq(&digest)) {
            true => Ok(()),
            false => Err(ApiError::new(Code::InvalidKey, "the key is not the one of this server")),
        }
    }
}

/// What comes after `Bearer`; the scheme's case does not matter.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// Pages that may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// None: programs only, which send no origin.
    #[default]
    None,
    /// All.
    Any,
    /// These.
    Some(Vec<String>),
}

impl Origins {
    /// `*`, or origins separated by commas.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut origins = Vec::new();
        for origin in text.split(',').map(str::trim).filter(|origin| !origin.is_empty()) {
            if origin == "*" {
                return Ok(Self::Any);
            }
            let origin = origin.strip_suffix('/').unwrap_or(origin).to_ascii_lowercase();
            let host = origin.split_once("://").map(|(_, host)| host);
            let fits =
                origin == "null" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@']));
            if !fits || !origin.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("{origin} is no origin: scheme and host are needed, as in https://example.com"));
            }
            origins.push(origin);
        }
        match origins.is_empty() {
            true => Err("origins are needed, separated by commas, or *".into()),
            false => Ok(Self::Some(origins)),
        }
    }

    fn allow(&self, origin: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::Some(origins) => origins.iter().any(|known| known.as_bytes() == origin),
        }
    }

    /// A page can send a request without being allowed to read the answer; it would still cost the
    /// GPU's time.
    fn admit(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let refused = |pages: &str, origin: &str| {
            let message = format!("pages of {pages} may not ask: start the server with --allowed-origins {origin}");
            Err(ApiError::new(Code::Origin, message))
        };
        match headers.get(ORIGIN).map(HeaderValue::as_bytes) {
            Some(origin) if self.allow(origin) => Ok(()),
            Some(origin) => {
                let origin: String = String::from_utf8_lossy(origin).chars().take(80).collect();
                refused(&origin, &origin)
            }
            // Images and links of pages have no origin, but browsers tell what they are.
            None if headers.get(FETCH_SITE).is_some_and(|site| site == "cross-site") && *self != Self::Any => {
                refused("other sites", "ORIGIN")
            }
            None => Ok(()),
        }
    }

    /// Headers that let pages of these origins ask, and read the answer.
    pub fn layer(&self) -> Option<CorsLayer> {
        let layer = CorsLayer::new()
            .allow_methods([Method::GET, Method::POST])
            // Clients send many of their own.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers([RETRY_AFTER])
            .allow_private_network(true);
        match self {
            Self::None => None,
            Self::Any => Some(layer.allow_origin(Any)),
            Self::Some(origins) => {
                let values = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
                Some(layer.allow_origin(AllowOrigin::list(values)))
            }
        }
    }
}

/// Before every path.
pub async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if let Some(hosts) = &shared.hosts
        && let Some(name) = hosts.stranger(headers, request.uri())
    {
        let message = format!("this server is not {name}: ask localhost, or give a key with --api-key");
        return failed(&ApiError::new(Code::Host, message));
    }
    if let Err(error) = shared.origins.admit(headers) {
        return failed(&error);
    }
    // Whether it is there is no secret: load balancers ask without a key.
    if let Some(key) = shared.key.as_ref().filter(|_| request.uri().path() != "/health")
        && let Err(error) = key.opens(headers)
    {
        return failed(&error);
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_whole() {
        let key = Key::new("secret");
        let with = |value: &'static str| {
            key.opens(&HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))])).is_ok()
        };
        assert!(with("Bearer secret") && with("bearer secret") && with("Bearer  secret "));
        assert!(
            !with("Bearer secre") && !with("Bearer secrets") && !with("Bearer") && !with("Basic secret") && !with("")
        );
        assert!(key.opens(&HeaderMap::new()).is_err());
    }

    #[test]
    fn origins_are_scheme_and_host() {
        let parsed = Origins::parse("https://a.example, HTTP://Localhost:5173/ ,null").unwrap();
        assert!(parsed.allow(b"https://a.example") && parsed.allow(b"http://localhost:5173") && parsed.allow(b"null"));
        assert!(!parsed.allow(b"https://b.example") && !parsed.allow(b"http://a.example") && !parsed.allow(b""));
        assert_eq!(Origins::parse("https://a.example,*"), Ok(Origins::Any));
        for wrong in ["", ",", "a.example", "https://", "https://a.example/x", "https://me@a.example", "https://ä\n"] {
            assert!(Origins::parse(wrong).is_err(), "{wrong}");
        }
        assert!(!Origins::None.allow(b"https://a.example") && Origins::None.layer().is_none());
    }

    #[test]
    fn pages_of_other_sites_are_known_without_an_origin() {
        let some = Origins::parse("https://a.example").unwrap();
        let asked = |origins: &Origins, named: &[(&'static str, &'static str)]| {
            let header = |&(name, value): &(&'static str, &'static str)| {
                (axum::http::HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            origins.admit(&named.iter().map(header).collect()).map_err(|error| error.code)
        };
        let (cross, page) = (("sec-fetch-site", "cross-site"), ("origin", "https://a.example"));
        for origins in [&Origins::None, &some] {
            assert_eq!(asked(origins, &[cross]), Err(Code::Origin));
            assert_eq!(asked(origins, &[("sec-fetch-site", "same-origin")]), Ok(()));
            assert_eq!(asked(origins, &[("sec-fetch-site", "none")]), Ok(()));
            assert_eq!(asked(origins, &[]), Ok(()));
        }
        assert_eq!((asked(&some, &[cross, page]), asked(&Origins::Any, &[cross])), (Ok(()), Ok(())));
        assert_eq!(asked(&Origins::None, &[cross, page]), Err(Code::Origin));
    }
}
