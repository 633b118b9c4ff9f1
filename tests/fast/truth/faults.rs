//! Each fault, as a client sees it and as the server records it.

use std::time::Duration;

use serde_json::json;

use super::client::{Client, Ended, get, post};
use super::{chat, generate, ms, prompt, quick};
use crate::support::truth::{End, Fault, Shape, Truth, When, text};

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

fn faulty(fault: Fault) -> Truth {
    Truth::start(quick().with(fault, When::Always))
}

/// Returns the end of the only request of a server.
fn end(truth: &Truth) -> (End, u32) {
    let served = truth.served();
    let record = &served.requests[0];
    (record.end, record.tokens)
}

#[test]
fn a_stall_is_silent_or_late() {
    let truth = faulty(Fault::Stall { after: 3, time: None });
    let mut client = Client::connect(&truth);
    client.socket.set_read_timeout(Some(ms(300))).unwrap();
    let came = client.post(COMPLETIONS, &prompt(9));
    assert_eq!((came.ended, came.chunks.len()), (Ended::Silent, 3));
    assert_eq!(end(&truth), (End::Stalled, 3));
    let truth = faulty(Fault::Stall {
        after: 3,
        time: Some(ms(50)),
    });
    assert_eq!(post(&truth, COMPLETIONS, &prompt(9)).events().len(), 9);
    let times = truth.served().requests[0].plan.token_times();
    assert_eq!(times[3] - times[2], 51_000_000);
    assert_eq!(times[4] - times[3], 1_000_000);
}

#[test]
fn a_reset_and_a_cut_differ() {
    let truth = faulty(Fault::Reset { after: 2 });
    let came = post(&truth, COMPLETIONS, &prompt(9));
    assert_eq!((came.ended, came.chunks.len()), (Ended::Reset, 2));
    assert_eq!(end(&truth), (End::Reset, 2));
    let truth = faulty(Fault::Cut { after: 2 });
    let came = post(&truth, COMPLETIONS, &prompt(9));
    assert_eq!((came.ended, came.chunks.len()), (Ended::Closed, 2));
    assert_eq!(end(&truth), (End::Cut, 2));
    let truth = faulty(Fault::Reset { after: 0 });
    assert_eq!(post(&truth, COMPLETIONS, &prompt(9)).status, 0);
    let truth = faulty(Fault::Quit { after: 2 });
    let came = post(&truth, COMPLETIONS, &prompt(9));
    assert_eq!((came.ended, came.data().len()), (Ended::Whole, 2));
    assert_eq!(end(&truth), (End::Quit, 2));
}

#[test]
fn the_event_before_a_fault_is_cut_short_by_it() {
    let truth = Truth::start(
        Shape {
            interval: 4,
            ..quick()
        }
        .with(Fault::Cut { after: 3 }, When::Always),
    );
    let came = post(&truth, "/generate", &generate(9));
    let last = came.data().pop().unwrap();
    assert!(last.contains("\"completion_tokens\":3"), "{last}");
    assert_eq!(end(&truth), (End::Cut, 3));
}

#[test]
fn garbage_and_bad_bytes_are_illegal() {
    let truth = faulty(Fault::Garbage { after: 2 });
    let came = post(&truth, COMPLETIONS, &prompt(4));
    let data = came.data();
    assert_eq!(data.len(), 6);
    let is_json = |data: &String| serde_json::from_str::<serde_json::Value>(data).is_ok();
    assert_eq!(data.iter().position(|data| !is_json(data)), Some(2));
    assert_eq!(end(&truth), (End::Illegal, 4));
    for (path, body) in [
        (COMPLETIONS, prompt(4)),
        (CHAT, chat(4)),
        ("/generate", generate(4)),
    ] {
        let truth = faulty(Fault::BadByte { after: 2 });
        let came = post(&truth, path, &body);
        assert!(String::from_utf8(came.bytes()).is_err(), "{path}");
        let lossy = String::from_utf8_lossy(&came.bytes()).into_owned();
        assert!(lossy.contains(&format!("{}\u{fffd}", text(2, 3))), "{lossy}");
        assert_eq!(end(&truth), (End::Illegal, 4));
    }
}

#[test]
fn errors_come_in_the_stream() {
    for named in [false, true] {
        let truth = faulty(Fault::ErrorEvent { after: 2, named });
        let came = post(&truth, COMPLETIONS, &prompt(9));
        assert_eq!(came.text().contains("event: error\ndata: {\"error\":{"), named);
        let events = came.events();
        assert_eq!(events[2]["error"]["code"], 500);
        assert_eq!((end(&truth), came.ended), ((End::ErrorEvent, 2), Ended::Whole));
    }
    let truth = faulty(Fault::Abort { after: 2 });
    let events = post(&truth, "/generate", &generate(9)).events();
    assert_eq!(events[2]["meta_info"]["finish_reason"]["type"], "abort");
    assert_eq!(events[2]["meta_info"]["completion_tokens"], 2);
    let truth = faulty(Fault::Abort { after: 2 });
    let events = post(&truth, CHAT, &chat(9)).events();
    assert_eq!(events[3]["choices"][0]["finish_reason"], "abort");
    assert_eq!(end(&truth), (End::Aborted, 2));
}

#[test]
fn refusals_have_their_status() {
    for (code, retry_after) in [(429, Some(2)), (500, None), (503, None)] {
        let truth = Truth::start(quick().with(Fault::Status { code, retry_after }, When::Request(1)));
        let mut client = Client::connect(&truth);
        assert_eq!(client.post(COMPLETIONS, &prompt(1)).status, 200);
        let came = client.post(COMPLETIONS, &prompt(1));
        assert_eq!(came.status, code);
        assert_eq!(
            came.head.contains("\r\nretry-after: 2\r\n"),
            retry_after.is_some()
        );
        assert_eq!(came.json()["code"], code);
        assert_eq!(client.post(COMPLETIONS, &prompt(1)).status, 200);
        assert_eq!(truth.served().requests[1].end, End::Status(code));
    }
}

#[test]
fn answers_may_lack_usage_or_tokens() {
    let truth = faulty(Fault::NoUsage);
    let events = post(&truth, CHAT, &chat(3)).events();
    assert!(events.iter().all(|event| event.get("usage").is_none()));
    let truth = faulty(Fault::NoTokens);
    let events = post(&truth, COMPLETIONS, &prompt(3)).events();
    assert_eq!(events[0]["choices"][0]["text"], "");
    assert_eq!(events[0]["choices"][0]["finish_reason"], "stop");
    assert_eq!(end(&truth), (End::NoTokens, 0));
    let truth = faulty(Fault::Short { share: 0.5 });
    let events = post(&truth, COMPLETIONS, &prompt(8)).events();
    assert_eq!(events.len(), 4);
    assert_eq!(events[3]["choices"][0]["finish_reason"], "stop");
    assert_eq!(end(&truth), (End::Short, 4));
}

#[test]
fn cached_tokens_are_reported() {
    let truth = faulty(Fault::Cached { share: 0.34 });
    let events = post(&truth, CHAT, &chat(1)).events();
    let usage = &events.last().unwrap()["usage"];
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 1);
    let truth = Truth::start(Shape {
        prefix_cache: Some(0.5),
        ..quick()
    });
    let mut client = Client::connect(&truth);
    client.post("/generate", &generate(1));
    client.post("/generate", &generate(1));
    client.send("POST", "/flush_cache", "");
    assert_eq!(client.receive().status, 200);
    client.post("/generate", &generate(1));
    let served = truth.served();
    let found: Vec<(u64, u64)> = served
        .requests
        .iter()
        .map(|record| (record.cached_tokens, record.plan.first - record.plan.arrival))
        .collect();
    assert_eq!(found, [(0, 4_000_000), (2, 2_000_000), (0, 4_000_000)]);
}

#[test]
fn the_role_may_come_long_before_the_first_token() {
    let truth = Truth::start(Shape::new(ms(30), ms(1)).with(Fault::EarlyRole, When::Always));
    let came = post(&truth, CHAT, &chat(3));
    let roles = came.text().matches("\"role\"").count();
    assert_eq!((roles, came.events().len()), (1, 6));
    assert!(came.reads > 1);
}

#[test]
fn events_come_in_pieces_or_together() {
    let text_of = |truth: &Truth| {
        let came = post(truth, COMPLETIONS, &prompt(6));
        assert_eq!(came.ended, Ended::Whole);
        came
    };
    let whole = text_of(&Truth::start(quick()));
    let strip = |text: String| text.replace(|c: char| c.is_ascii_digit(), "");
    let truth = faulty(Fault::Pieces { pieces: 6 });
    let came = text_of(&truth);
    assert_eq!(strip(came.text()), strip(whole.text()));
    assert_eq!(truth.served().requests[0].chunks, 6);
    let truth = faulty(Fault::Misaligned);
    let came = text_of(&truth);
    assert_eq!(strip(came.text()), strip(whole.text()));
    assert!(!came.chunks[0].ends_with(b"\n\n"));
    let truth = faulty(Fault::Together { events: 3 });
    let came = text_of(&truth);
    assert_eq!(strip(came.text()), strip(whole.text()));
    let counts: Vec<usize> = came
        .chunks
        .iter()
        .map(|chunk| memchr::memmem::find_iter(chunk, b"\"text\"").count())
        .collect();
    assert_eq!(counts, [3, 3, 0]);
    let served = truth.served();
    assert_eq!(served.requests[0].plan.chunk_times().len(), 2);
    assert_eq!(served.summary()["planned"]["ttft"]["p50_ms"], 6.0);
}

#[test]
fn a_character_is_split_between_two_chunks() {
    let truth = faulty(Fault::SplitCharacter);
    let came = post(&truth, COMPLETIONS, &prompt(3));
    let events = came.events();
    assert_eq!(events[0]["choices"][0]["text"], format!("{}é", text(0, 1)));
    assert!(came.chunks[0].ends_with(&[0xc3]) && came.chunks[1].starts_with(&[0xa9]));
    assert_eq!(end(&truth), (End::Complete, 3));
}

#[test]
fn a_line_may_be_very_long() {
    let bytes = 300_000;
    let truth = faulty(Fault::LongLine { after: 1, bytes });
    let came = post(&truth, COMPLETIONS, &prompt(3));
    let longest = came.data().iter().map(String::len).max().unwrap();
    assert!(longest > 300_000, "{longest}");
    assert_eq!(came.events().len(), 3);
}

#[test]
fn connections_end_as_said() {
    let truth = faulty(Fault::Close);
    let mut client = Client::connect(&truth);
    let came = client.post(COMPLETIONS, &prompt(2));
    assert!(came.head.contains("connection: close\r\n"));
    assert_eq!(client.receive().ended, Ended::Closed);
    let truth = Truth::start(Shape {
        keep_alive: Some(ms(50)),
        ..quick()
    });
    let mut client = Client::connect(&truth);
    // The answer takes longer than a connection may idle.
    assert_eq!(client.post(COMPLETIONS, &prompt(80)).events().len(), 80);
    assert_eq!(client.receive().ended, Ended::Closed);
}

#[test]
fn a_client_that_leaves_is_recorded() {
    let truth = Truth::start(Shape::new(ms(1), ms(20)));
    let mut client = Client::connect(&truth);
    client.send("POST", COMPLETIONS, &prompt(1000).to_string());
    while truth.served().tokens() == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(client);
    while end(&truth).0 == End::Open {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(end(&truth).0, End::ClientLeft);
    assert_eq!(truth.served().counted().count(), 0);
}

#[test]
fn a_changed_server_has_another_name() {
    let truth = Truth::start(Shape {
        changes_at: Some(ms(1)),
        ..quick()
    });
    assert_eq!(get(&truth, "/v1/models").json()["data"][0]["id"], "truth/model");
    post(&truth, COMPLETIONS, &prompt(2));
    assert_eq!(
        get(&truth, "/v1/models").json()["data"][0]["id"],
        "truth/model-changed"
    );
    assert_eq!(get(&truth, "/model_info").json()["weight_version"], "changed");
    assert!(
        get(&truth, "/metrics")
            .text()
            .contains("is_streaming=\"true\"} 0.0")
    );
}

#[test]
fn connections_are_accepted_one_by_one() {
    let truth = Truth::start(Shape {
        accept_gap: Some(ms(20)),
        ..quick()
    });
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(&truth)).collect();
    for client in &mut clients {
        client.send(
            "POST",
            COMPLETIONS,
            &json!({"prompt": "a", "max_tokens": 1}).to_string(),
        );
    }
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    let served = truth.served();
    let arrivals: Vec<u64> = served.requests.iter().map(|record| record.plan.arrival).collect();
    assert!(arrivals[3] - arrivals[0] > 50_000_000, "{arrivals:?}");
}
