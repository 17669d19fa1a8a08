//! Which proxy an address goes through, what a redirect means, and whose an address is.

use peregrine::Result;
use peregrine::checkpoint::http::{Proxies, origin, resolve};

#[test]
fn origins_have_one_spelling() {
    for (url, expected) in [
        ("https://huggingface.co/a/b", Some("https://huggingface.co:443")),
        ("HTTPS://HuggingFace.co:443", Some("https://huggingface.co:443")),
        ("http://127.0.0.1:8000/x?y#z", Some("http://127.0.0.1:8000")),
        ("http://[::1]/", Some("http://[::1]:80")),
        // The host is what follows the at sign.
        ("https://huggingface.co@evil.example/x", Some("https://evil.example:443")),
        ("https://huggingface.co.evil.example/", Some("https://huggingface.co.evil.example:443")),
        ("ftp://host/x", None),
        ("no address", None),
        ("file:///etc/passwd", None),
    ] {
        assert_eq!(origin(url).as_deref(), expected, "{url}");
    }
}

#[test]
fn redirects_are_relative_to_where_they_are_found() {
    let base = "https://host:1/a/b/c?q=1/2";
    for (to, expected) in [
        ("/x?y", Some("https://host:1/x?y")),
        ("//other/x", Some("https://other/x")),
        ("d?e", Some("https://host:1/a/b/d?e")),
        ("../d", Some("https://host:1/a/d")),
        ("./d/../../e", Some("https://host:1/a/e")),
        ("../../../d", Some("https://host:1/d")),
        ("?z", Some("https://host:1/a/b/c?z")),
        ("http://other:2/x", Some("http://other:2/x")),
        ("file:///etc/passwd", None),
        ("javascript:1", None),
    ] {
        assert_eq!(resolve(base, to).as_deref(), expected, "{to}");
    }
    assert_eq!(resolve("https://host", "x").as_deref(), Some("https://host/x"));
}

fn proxies(variables: &[(&str, &str)]) -> Result<Proxies> {
    Proxies::new(&|name| variables.iter().find(|v| v.0 == name).map(|v| v.1.to_string()))
}

#[test]
fn the_scheme_decides() {
    let found = |variables: &[(&str, &str)], url: &str| {
        proxies(variables).unwrap().of(url).map(|proxy| proxy.uri().host().unwrap_or_default().to_string())
    };
    let (https, http) = ("https://huggingface.co/x", "http://mirror.example/x");
    assert_eq!(found(&[], https), None);
    assert_eq!(found(&[("HTTPS_PROXY", "http://a:1")], https).as_deref(), Some("a"));
    assert_eq!(found(&[("HTTPS_PROXY", "http://a:1")], http), None);
    assert_eq!(found(&[("HTTP_PROXY", "http://a:1")], https), None);
    assert_eq!(found(&[("http_proxy", "a:1")], http).as_deref(), Some("a"));
    assert_eq!(found(&[("ALL_PROXY", "socks5://b:1"), ("https_proxy", "c")], https).as_deref(), Some("c"));
    assert_eq!(found(&[("ALL_PROXY", "socks5://b:1"), ("https_proxy", "c")], http).as_deref(), Some("b"));
    assert_eq!(found(&[("https_proxy", "a"), ("HTTPS_PROXY", "b")], https).as_deref(), Some("a"));
    let error = proxies(&[("HTTPS_PROXY", "gopher://secret@a")]).unwrap_err().to_string();
    assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{error}");
}

#[test]
fn exceptions_mean_what_they_mean_to_python() {
    for (except, host, expected) in [
        ("*", "huggingface.co", true),
        ("huggingface.co", "huggingface.co", true),
        ("huggingface.co", "cdn.huggingface.co", true),
        ("huggingface.co", "nothuggingface.co", false),
        (".huggingface.co", "cdn.huggingface.co", true),
        (".huggingface.co", "huggingface.co", false),
        ("*.huggingface.co", "cdn.huggingface.co", true),
        ("a.example, HuggingFace.co ,b", "huggingface.co", true),
        ("localhost", "localhost:8000", true),
        ("localhost:8000", "localhost:8000", true),
        ("localhost:9000", "localhost:8000", false),
        ("127.0.0.1", "127.0.0.1:8000", true),
        ("127.0.0.1", "127.0.0.12", false),
        ("10.0.0.0/8", "10.1.2.3", true),
        ("10.0.0.0/8", "11.1.2.3", false),
        ("::1", "[::1]:8000", true),
        ("fd00::/8", "[fd12::1]", true),
        ("https://huggingface.co", "huggingface.co", true),
        ("http://huggingface.co", "huggingface.co", false),
        ("", "huggingface.co", false),
    ] {
        let proxies = proxies(&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", except)]).unwrap();
        let through = proxies.of(&format!("https://{host}/x")).is_some();
        assert_eq!(!through, expected, "{except:?} {host}");
    }
}
