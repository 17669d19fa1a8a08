//! HTTP ranges against a server of thirty lines, which can misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use peregrine::checkpoint::{Checkpoint, HttpSource, Source};
use pollster::block_on;

use super::file::File;

/// How the server answers.
#[derive(Clone, Copy)]
enum Manner {
    Honest,
    IgnoresRange,
    CutsTheBody,
    SaysAnotherRange,
    HidesTheLength,
    SendsTooMuch,
    NotFound,
    /// Honest for the first request, then as if the file had grown.
    Grows,
}

/// Serves `bytes` until the test ends; the address.
fn serve(bytes: Vec<u8>, manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (request, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut range = None;
            for line in BufReader::new(&stream).lines() {
                let line = line.unwrap().to_ascii_lowercase();
                if let Some(span) = line.strip_prefix("range: bytes=") {
                    let (first, last) = span.split_once('-').unwrap();
                    range = Some((first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap()));
                }
                if line.is_empty() {
                    break;
                }
            }
            let (first, last) = range.expect("a request without Range");
            let total = bytes.len();
            let (status, range, body) = match manner {
                Manner::NotFound => ("404 Not Found", String::new(), &b"no"[..]),
                Manner::IgnoresRange => ("200 OK", String::new(), &bytes[..]),
                _ => {
                    let stated = match manner {
                        Manner::SaysAnotherRange => format!("bytes 0-{}/{total}", total - 1),
                        Manner::HidesTheLength => format!("bytes {first}-{last}/*"),
                        Manner::Grows if request > 0 => {
                            format!("bytes {first}-{last}/{}", total + 1)
                        }
                        _ => format!("bytes {first}-{last}/{total}"),
                    };
                    ("206 Partial Content", format!("Content-Range: {stated}\r\n"), &bytes[first..=last])
                }
            };
            let mut body = body.to_vec();
            if matches!(manner, Manner::SendsTooMuch) && request > 0 {
                body.push(0);
            }
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\n{range}Content-Length: {length}\r\nConnection: close\r\n\r\n");
            let sent = match manner {
                Manner::CutsTheBody if request > 0 => length / 2,
                _ => length,
            };
            // The client may have closed already.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
        }
    });
    format!("http://{address}/toy.gguf")
}

#[test]
fn a_model_opens_over_ranges() {
    let file = File::new();
    let url = serve(file.bytes(), Manner::Honest);
    let checkpoint = block_on(Checkpoint::open(&url)).unwrap();
    let values = block_on(checkpoint.read_f32("model.final_layernorm.weight", &[32])).unwrap();
    let here = super::file::open(file.bytes()).unwrap();
    assert_eq!(values, block_on(here.read_f32("model.final_layernorm.weight", &[32])).unwrap());
}

#[test]
fn a_range_is_exact_and_bounded() {
    let bytes: Vec<u8> = (0..=255).collect();
    let source = HttpSource::open(&serve(bytes, Manner::Honest)).unwrap();
    assert_eq!(source.len(), 256);
    let mut buf = [0; 3];
    block_on(source.read(253, &mut buf)).unwrap();
    assert_eq!(buf, [253, 254, 255]);
    block_on(source.read(256, &mut [])).unwrap();
    assert_eq!(block_on(source.read(254, &mut buf)).unwrap_err().code(), "truncated");
}

#[test]
fn misbehaving_servers_are_refused() {
    for (manner, word) in [
        (Manner::IgnoresRange, "ignores Range"),
        (Manner::SaysAnotherRange, "Content-Range"),
        (Manner::HidesTheLength, "Content-Range"),
        (Manner::SendsTooMuch, "longer than"),
        (Manner::NotFound, "404"),
        (Manner::CutsTheBody, "broke"),
        (Manner::Grows, "changed"),
    ] {
        let url = serve(File::new().bytes(), manner);
        let error = block_on(Checkpoint::open(&url)).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "http", "{word}: {error}");
        assert!(error.to_string().contains(word) && error.to_string().contains(&url), "{word}: {error}");
    }
}

#[test]
fn nobody_listening_is_an_error() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = block_on(Checkpoint::open(&format!("http://{closed}/x.gguf"))).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "http", "{error}");
}
