//! HTTP/1.1 as clients write it.

use std::io::{Read, Write};

use serde_json::json;

use super::client::{Client, Ended, post};
use super::{prompt, quick};
use crate::support::truth::{Truth, text};

const COMPLETIONS: &str = "/v1/completions";

fn request(head: &str, body: &str) -> String {
    format!("POST {COMPLETIONS} HTTP/1.1\r\nHost: x\r\n{head}\r\n{body}")
}

#[test]
fn a_request_comes_in_any_pieces() {
    let truth = Truth::start(quick());
    let mut client = Client::connect(&truth);
    let body = prompt(3).to_string();
    let bytes = request(&format!("CONTENT-LENGTH: {}\r\n", body.len()), &body);
    for byte in bytes.as_bytes().chunks(7) {
        client.socket.write_all(byte).unwrap();
    }
    assert_eq!(client.receive().events().len(), 3);
}

#[test]
fn a_body_comes_in_chunks() {
    let truth = Truth::start(quick());
    let mut client = Client::connect(&truth);
    let body = prompt(3).to_string();
    let (first, second) = body.split_at(10);
    let chunks = format!("a;x=y\r\n{first}\r\n{:X}\r\n{second}\r\n0\r\n\r\n", second.len());
    for _ in 0..2 {
        let bytes = request("transfer-encoding: chunked\r\n", &chunks);
        client.socket.write_all(bytes.as_bytes()).unwrap();
        assert_eq!(client.receive().events().len(), 3);
    }
}

#[test]
fn requests_wait_for_the_answers_before_them() {
    let truth = Truth::start(quick());
    let mut client = Client::connect(&truth);
    for tokens in [4, 2, 3] {
        client.send("POST", COMPLETIONS, &prompt(tokens).to_string());
    }
    let counts = [(); 3].map(|()| client.receive().events().len());
    assert_eq!(counts, [4, 2, 3]);
}

#[test]
fn a_body_waits_for_100_continue() {
    let truth = Truth::start(quick());
    let mut client = Client::connect(&truth);
    let body = prompt(1).to_string();
    let head = request(
        &format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len()),
        "",
    );
    client.socket.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 25];
    client.socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.socket.write_all(body.as_bytes()).unwrap();
    assert_eq!(client.receive().events().len(), 1);
}

#[test]
fn a_prompt_of_megabytes_is_read() {
    let truth = Truth::start(quick());
    let ids: Vec<u32> = (0..300_000).collect();
    let came = post(&truth, COMPLETIONS, &json!({"prompt": ids, "max_tokens": 1}));
    assert_eq!(came.json()["usage"]["prompt_tokens"], 300_000);
}

#[test]
fn a_long_answer_waits_for_a_slow_reader() {
    let truth = Truth::start(crate::support::truth::Shape {
        itl: std::time::Duration::ZERO,
        ..quick()
    });
    let mut client = Client::connect(&truth);
    let body = json!({"text": "a", "stream": true, "sampling_params": {"max_new_tokens": 2000}});
    client.send("POST", "/generate", &body.to_string());
    while truth.served().tokens() < 2000 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(truth.served().requests[0].blocked > 0);
    let events = client.receive().events();
    assert_eq!(events.len(), 2000);
    assert_eq!(events[1999]["text"], text(0, 2000));
}

#[test]
fn what_is_no_request_is_refused() {
    let truth = Truth::start(quick());
    for (bytes, status) in [
        ("POST /generate HTTP/1.0\r\n\r\n".to_owned(), 505),
        ("\0\0\0\0\r\n\r\n".to_owned(), 400),
        (request("content-length: many\r\n", ""), 400),
        (request("content-length: 99999999999\r\n", ""), 413),
        (request("transfer-encoding: chunked\r\n", "zz\r\n"), 400),
    ] {
        let mut client = Client::connect(&truth);
        client.socket.write_all(bytes.as_bytes()).unwrap();
        assert_eq!(client.receive().status, status, "{bytes:?}");
        assert_eq!(client.receive().ended, Ended::Closed);
    }
    let mut client = Client::connect(&truth);
    for body in [json!({}), json!({"prompt": {"no": "prompt"}, "n": 2}), json!([1])] {
        assert_eq!(client.post(COMPLETIONS, &body).status, 400, "{body}");
    }
    assert_eq!(client.post(COMPLETIONS, &prompt(1)).events().len(), 1);
    assert_eq!(truth.served().requests.len(), 1);
}
