//! Clients that come and go.

use std::net::Shutdown;
use std::sync::Barrier;

use super::*;

/// At a time, and how often.
const THREADS: usize = 8;
const EACH: usize = 25;
const ROUNDS: usize = 5;

#[test]
fn a_thousand_clients_leave_nothing_behind() {
    let local = Local::start(16);
    let all_here = Barrier::new(THREADS);
    let clients = |thread: usize| {
        for round in 0..ROUNDS {
            let come = |i: usize| match (thread + round + i) % 6 {
                0 => local.raw(""),
                1 => local.raw("POST /v1/completions HTTP/1.1\r\nHost: loc"),
                2 => local.raw(&format!("{}\r\n{{\"prompt\":", head(100))),
                3 => {
                    let stream = local.raw(&format!("{}\r\n{{\"prompt\":", head(100)));
                    // It may have been answered already.
                    let _ = stream.shutdown(Shutdown::Write);
                    stream
                }
                4 => local.ask(&brief()),
                _ => local.raw("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
            };
            let here: Vec<_> = (0..EACH).map(|i| ((thread + round + i) % 6, come(i))).collect();
            // Two hundred at once.
            all_here.wait();
            for (kind, stream) in here {
                if kind == 5 {
                    let answer = rest(stream);
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let clients = &clients;
            scope.spawn(move || clients(thread));
        }
    });
    local.until("0".to_string(), Local::connections);
    assert_eq!(local.shared.queue.counts(), (0, 0));
    local.until(64 << 10, |local| local.shared.memory.available_permits());
    // And it serves.
    let client = local.ask(&brief());
    let (job, slot) = local.take();
    slot.done(true);
    assert!(job.replies.try_send(whole("{}")).is_ok());
    drop(job);
    assert!(rest(client).ends_with("{}"));
    local.end();
}

#[test]
fn a_client_that_leaves_stops_its_answer() {
    let local = Local::start(1);
    for body in [brief(), json!({ "prompt": "Once", "stream": true })] {
        let client = local.ask(&body);
        let (job, slot) = local.take();
        assert!(!job.replies.is_closed());
        drop(client);
        local.until(true, |_| job.replies.is_closed());
        slot.done(false);
    }
    local.until("0".to_string(), Local::connections);
    local.end();
}
