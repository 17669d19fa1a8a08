//! More than there is room for.

use super::*;
use crate::serve::sender::ReplySender;

#[test]
fn a_full_queue_refuses_before_the_body_has_come() {
    let local = Local::start(1);
    let running = local.ask(&brief());
    let (job, slot) = local.take();
    let waiting = local.ask(&brief());
    local.until(1, Local::waiting);
    let begun = format!("{}\r\n{{\"prompt\":", head(100));
    for head in [begun, format!("{}Expect: 100-continue\r\n\r\n", head(100))] {
        let mut refused = local.raw(&head);
        // The body never comes.
        let mut answer = [0; 512];
        let read = refused.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
        assert!(answer.starts_with("http/1.1 429 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    }
    // Nothing was learned of an answer that was broken off.
    slot.done(false);
    drop(job);
    assert!(rest(running).contains("the answer was broken off"));
    let (job, slot) = local.take();
    slot.done(true);
    assert!(job.replies.try_send(whole("{}")).is_ok());
    drop(job);
    assert!(rest(waiting).starts_with("HTTP/1.1 200 "));
    local.end();
}

#[test]
fn bodies_have_limits_alone_and_together() {
    let local = Local::start(1);
    let refused = |text: &str, status: &str, message: &str| {
        let answer = rest(local.raw(text));
        assert!(answer.starts_with(status) && answer.contains(message), "{answer}");
    };
    // Also where its length is not known beforehand.
    let long = "x".repeat((1 << 20) + 1);
    refused(&post(&long), "HTTP/1.1 413 ", "1024 KiB");
    let chunked =
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    refused(&format!("{chunked}{:x}\r\n{long}\r\n0\r\n\r\n", long.len()), "HTTP/1.1 413 ", "1024 KiB");
    let all = local.shared.memory.clone().try_acquire_many_owned(64 << 10).unwrap();
    refused(&post(&brief().to_string()), "HTTP/1.1 429 ", "queue_full");
    drop(all);
    // A request keeps its part until it is answered.
    let waiting = local.ask(&brief());
    local.until(1, Local::waiting);
    assert_eq!(local.shared.memory.available_permits(), (64 << 10) - 1);
    drop(waiting);
    local.until(0, Local::waiting);
    local.until(64 << 10, |local| local.shared.memory.available_permits());
    assert_eq!(local.shared.metrics.answers("cancelled"), 1);
    local.end();
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let local = Local::start(1);
    let client = local.ask(&json!({ "prompt": "Once", "stream": true }));
    let (job, slot) = local.take();
    let sender = ReplySender::new(&job, local.shared.queue.clone(), 20);
    let event = || Reply::Event("x".repeat(1024));
    // The channel, and what the sockets of both sides take.
    let sent = (0..64 << 10).take_while(|_| sender.send(event())).count();
    assert!((1024..64 << 10).contains(&sent), "{sent} KiB");
    assert!(sender.stops());
    slot.done(false);
    drop((sender, job));
    // Nobody waits for it to read.
    local.until("0".to_string(), Local::connections);
    let heard = rest(client);
    assert!(heard.starts_with("HTTP/1.1 200 ") || heard.is_empty(), "{heard:?}");
    assert!(heard.len() < sent << 10 && !heard.contains("[DONE]"));
    local.end();
}
