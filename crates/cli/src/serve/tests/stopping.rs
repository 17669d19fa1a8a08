//! The end of a server: what is under way is sent, what is not there yet is not waited for.

use super::*;

#[test]
fn the_answer_that_is_made_is_told_and_nothing_else_is_waited_for() {
    let local = Local::start(4);
    let mut running = local.ask(&json!({ "prompt": "Once", "stream": true }));
    let (job, slot) = local.take();
    let word = |text: &str| job.replies.try_send(Reply::Event(format!("data: {text}\n\n"))).is_ok();
    assert!(word("before"));
    let mut heard = [0; 4096];
    let first = running.read(&mut heard).unwrap();
    assert!(heard[..first].starts_with(b"HTTP/1.1 200 "));
    let waiting = local.ask(&brief());
    local.until(1, Local::waiting);
    // Nothing yet, half a head, and half a body, for which the server has asked.
    let (silent, half_head) = (local.raw(""), local.raw("POST /v1/completions HTTP/1.1\r\nHost: loc"));
    let mut half_body = local.raw(&format!("{}Expect: 100-continue\r\n\r\n", head(100)));
    let mut go_on = [0; 25];
    half_body.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    local.until("5".to_string(), Local::connections);

    local.stop();
    for refused in [rest(waiting), rest(half_body)] {
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\"code\":\"stopping\""), "{refused}");
    }
    assert_eq!([rest(silent), rest(half_head)], ["", ""]);
    local.until("1".to_string(), Local::connections);
    local.until(true, |local| TcpStream::connect(local.address).is_err());
    // The answer goes on to its end.
    assert!(word("after") && job.replies.try_send(Reply::Done).is_ok());
    slot.done(true);
    drop(job);
    local.answered.send_replace(true);
    let text = rest(running);
    assert!(text.contains("data: after\n\n") && text.contains("data: [DONE]\n\n"), "{text}");
    assert!(matches!(local.shared.queue.next(None), Next::End));
    local.connections.join().unwrap().unwrap();
    // Whoever waited is counted, once; what was answered is the worker's to count.
    assert_eq!(local.shared.metrics.answers("cancelled"), 1);
}

#[test]
fn a_server_whose_gpu_has_gone_ends() {
    let Local { stop, answered, connections, shared, address } = Local::start(1);
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(post(&brief().to_string()).as_bytes()).unwrap();
    let Next::Job(job, slot) = shared.queue.next(Some(DEADLINE)) else { panic!("somebody has asked") };
    stop.send_replace(true);
    shared.queue.stop();
    // As in a panic: everything of it is dropped.
    drop((job, slot, answered));
    assert!(rest(client).contains("the answer was broken off"));
    connections.join().unwrap().unwrap();
}
