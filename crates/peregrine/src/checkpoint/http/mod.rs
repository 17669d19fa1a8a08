//! HTTP, natively: redirects are followed here, so that a token goes to the hosts that it is for
//! and to no other; the environment says which proxy and which authorities there are, as it does to
//! other programs.

mod address;
mod authorities;
mod proxies;
mod source;

use std::cell::OnceCell;
use std::io::Read;
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};

pub use self::address::{origin, resolve};
pub use self::authorities::authorities;
pub use self::proxies::Proxies;
pub use self::source::HttpSource;
use crate::{Error, Result};

/// Longest wait for a connection.
const MAX_CONNECT: Duration = Duration::from_secs(30);

/// Redirects that are followed for one request: within the hub, then to where it keeps large files.
const MAX_REDIRECTS: usize = 8;

/// Reads a variable of the environment. A function, so that tests need no environment of their own.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables of this process, without the white space around them; empty ones count as missing.
pub fn environment(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    Some(value.trim()).filter(|value| !value.is_empty()).map(Into::into)
}

/// A secret, and who may see it.
#[derive(Clone)]
pub struct Token {
    /// Goes into `Authorization: Bearer SECRET`.
    pub secret: String,
    /// [`origin`]s.
    pub origins: Vec<String>,
}

/// How to ask.
#[derive(Clone)]
pub struct HttpOptions {
    /// `User-Agent`
    pub agent: String,
    /// Longest wait for a connection, and for the head of an answer that is about a file.
    pub answer: Duration,
    /// Longest wait for bytes of a file, the first ones or more.
    pub bytes: Duration,
    /// For hosts that ask who it is.
    pub token: Option<Token>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            agent: concat!("peregrine/", env!("CARGO_PKG_VERSION")).into(),
            answer: Duration::from_secs(60),
            bytes: Duration::from_secs(60),
            token: None,
        }
    }
}

/// Asks servers.
pub struct HttpClient {
    options: HttpOptions,
    proxies: Proxies,
    agent: ureq::Agent,
    /// Read when the first address needs them.
    roots: OnceCell<RootCerts>,
}

/// An answer, whatever its status.
pub struct Answer {
    /// Where it came from, after all redirects.
    pub url: String,
    /// HTTP status.
    pub status: u16,
    response: ureq::http::Response<ureq::Body>,
}

impl Answer {
    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// `Content-Length`
    pub fn length(&self) -> Option<u64> {
        self.response.body().content_length()
    }

    /// The body.
    pub fn into_reader(self) -> impl Read {
        self.response.into_body().into_reader()
    }

    /// The status in words, with what the server says about it.
    pub fn refusal(&self) -> String {
        let said = self.header("x-error-message").map(|text| format!(": {text}")).unwrap_or_default();
        format!("the server answered status {}{said}", self.status)
    }
}

impl HttpClient {
    /// Proxies and authorities are those of the environment.
    ///
    /// # Errors
    /// [`Error::Argument`] for a proxy that is no address.
    pub fn new(options: HttpOptions) -> Result<Self> {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(&options.agent)
            .build();
        Ok(Self { options, proxies: Proxies::new(&environment)?, agent: agent.into(), roots: OnceCell::new() })
    }

    /// Whether the token goes to this address.
    pub fn knows(&self, url: &str) -> bool {
        self.options.token.as_ref().is_some_and(|token| origin(url).is_some_and(|own| token.origins.contains(&own)))
    }

    /// Asks for a file, or for the bytes `first..=last` of it, and follows redirects. `seen` is
    /// shown every answer.
    ///
    /// # Errors
    /// [`Error::Http`] when there is no answer; answers of any status are none.
    pub fn get(&self, url: &str, bytes: Option<(u64, u64)>, seen: &mut dyn FnMut(&Answer)) -> Result<Answer> {
        let mut at = url.to_string();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.ask(&at, bytes)?;
            seen(&answer);
            let to = answer.header("location").filter(|_| matches!(answer.status, 301 | 302 | 303 | 307 | 308));
            let Some(to) = to else { return Ok(answer) };
            at = resolve(&at, to).ok_or_else(|| {
                let detail = format!("a redirect to {to:?} cannot be followed");
                Error::Http { url: at.clone(), status: None, detail }
            })?;
        }
        let detail = format!("more than {MAX_REDIRECTS} redirects");
        Err(Error::Http { url: url.into(), status: None, detail })
    }

    fn ask(&self, url: &str, bytes: Option<(u64, u64)>) -> Result<Answer> {
        let error = |detail: String| Error::Http { url: url.into(), status: None, detail };
        let proxy = self.proxies.of(url);
        let mut request = self.agent.get(url).config();
        request = request
            .proxy(proxy.cloned())
            .timeout_connect(Some(self.options.answer.min(MAX_CONNECT)))
            .timeout_recv_response(Some(match bytes {
                None | Some((0, 0)) => self.options.answer,
                Some(_) => self.options.answer.max(self.options.bytes),
            }))
            .timeout_per_read(Some(self.options.bytes));
        if url.starts_with("https:") || proxy.is_some() {
            request = request.tls_config(TlsConfig::builder().root_certs(self.roots()?).build());
        }
        // A compressed answer would have other byte positions.
        let mut request = request.build().header("Accept-Encoding", "identity");
        if let Some((first, last)) = bytes {
            request = request.header("Range", format!("bytes={first}-{last}"));
        }
        if let Some(token) = self.options.token.as_ref().filter(|_| self.knows(url)) {
            request = request.header("Authorization", format!("Bearer {}", token.secret));
        }
        let response = request.call().map_err(|e| match e.to_string() {
            text if text.contains("UnknownIssuer") => {
                let advice = "name the file of the authority that signed for it in SSL_CERT_FILE";
                error(format!("{text}: no authority that this machine trusts knows the server; {advice}"))
            }
            text if proxy.is_some() => error(format!("{text} (through the proxy that the environment names)")),
            text => error(text),
        })?;
        Ok(Answer { url: url.into(), status: response.status().as_u16(), response })
    }

    fn roots(&self) -> Result<RootCerts> {
        if let Some(roots) = self.roots.get() {
            return Ok(roots.clone());
        }
        let roots = authorities(&environment)?;
        Ok(self.roots.get_or_init(|| roots).clone())
    }
}
