//! The answers without a fault.

use serde_json::{Value, json};

use super::client::{Client, get, post};
use super::{chat, generate, ms, prompt, quick};
use crate::support::truth::{Output, Shape, Times, Truth, text};

const COMPLETIONS: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";

fn joined(events: &[Value], path: &str) -> String {
    let texts = events.iter().filter_map(|event| event.pointer(path)?.as_str());
    texts.collect()
}

#[test]
fn completions_stream_a_word_per_token() {
    let truth = Truth::start(quick());
    let came = post(&truth, COMPLETIONS, &prompt(5));
    assert!(
        came.head.contains("content-type: text/event-stream"),
        "{}",
        came.head
    );
    let events = came.events();
    assert_eq!(events.len(), 5);
    assert_eq!(joined(&events, "/choices/0/text"), text(0, 5));
    assert_eq!(text(0, 5).split_whitespace().count(), 5);
    assert_eq!(events[3]["choices"][0]["finish_reason"], Value::Null);
    assert_eq!(events[4]["choices"][0]["finish_reason"], "length");
    assert!(events.iter().all(|event| event["usage"].is_null()));
}

#[test]
fn usage_is_given_as_asked_for() {
    let truth = Truth::start(quick());
    let mut body = prompt(3);
    body["stream_options"] = json!({"include_usage": true});
    let events = post(&truth, COMPLETIONS, &body).events();
    assert_eq!(events.len(), 4);
    assert_eq!(events[3]["choices"], json!([]));
    assert_eq!(events[3]["usage"]["completion_tokens"], 3);
    assert_eq!(events[3]["usage"]["prompt_tokens"], 3);
    assert_eq!(events[3]["usage"]["total_tokens"], 6);
    body["stream_options"] = json!({"include_usage": true, "continuous_usage_stats": true});
    let events = post(&truth, COMPLETIONS, &body).events();
    let counts = events
        .iter()
        .map(|event| event["usage"]["completion_tokens"].as_u64());
    assert_eq!(counts.collect::<Vec<_>>(), [Some(1), Some(2), Some(3), Some(3)]);
}

#[test]
fn prompts_are_counted_in_each_form() {
    let truth = Truth::start(quick());
    let mut body = prompt(1);
    body["stream"] = json!(false);
    for (given, tokens) in [
        (json!("a b  c\nd"), 4),
        (json!([1, 2, 3, 4, 5]), 5),
        (json!(""), 0),
    ] {
        body["prompt"] = given;
        let answer = post(&truth, COMPLETIONS, &body).json();
        assert_eq!(answer["usage"]["prompt_tokens"], tokens, "{body}");
    }
    let parts = json!([
        {"role": "system", "content": "a b"},
        {"role": "user", "content": [{"type": "text", "text": "c d e"}]},
    ]);
    let answer = post(&truth, CHAT, &json!({"messages": parts, "max_tokens": 1})).json();
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    for batch in [json!(["a", "b"]), json!([[1], [2]])] {
        body["prompt"] = batch;
        assert_eq!(post(&truth, COMPLETIONS, &body).status, 400);
    }
}

#[test]
fn generate_streams_all_text_so_far() {
    let truth = Truth::start(Shape {
        interval: 4,
        ..quick()
    });
    let events = post(&truth, "/generate", &generate(10)).events();
    let counts: Vec<u64> = events
        .iter()
        .map(|event| event["meta_info"]["completion_tokens"].as_u64().unwrap())
        .collect();
    // The first token comes alone, then each fourth, then the rest.
    assert_eq!(counts, [1, 5, 9, 10]);
    for (event, count) in events.iter().zip(counts) {
        assert_eq!(event["text"], text(0, u32::try_from(count).unwrap()));
        assert_eq!(event["output_ids"].as_array().unwrap().len() as u64, count);
        assert_eq!(event["meta_info"]["prompt_tokens"], 3);
    }
    let last = &events[3]["meta_info"];
    assert_eq!(last["finish_reason"], json!({"type": "length", "length": 10}));
    assert_eq!(last["e2e_latency"], json!(0.013));
    assert!(events[0]["meta_info"]["e2e_latency"].is_null());
}

#[test]
fn a_chat_thinks_before_it_answers() {
    let truth = Truth::start(Shape {
        reasoning_share: 0.5,
        interval: 3,
        ..quick()
    });
    let events = post(&truth, CHAT, &chat(10)).events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(joined(&events, "/choices/0/delta/reasoning_content"), text(0, 5));
    assert_eq!(joined(&events, "/choices/0/delta/content"), text(5, 10));
    let [finish, usage] = &events[events.len() - 2..] else {
        panic!("{events:?}")
    };
    assert_eq!(finish["choices"][0]["finish_reason"], "length");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 10);
    assert_eq!(usage["usage"]["reasoning_tokens"], 5);
    assert_eq!(usage["usage"]["completion_tokens_details"]["reasoning_tokens"], 5);
    assert_eq!(usage["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let whole = post(
        &truth,
        CHAT,
        &json!({"messages": [{"content": "a"}], "max_tokens": 10}),
    )
    .json();
    assert_eq!(whole["choices"][0]["message"]["reasoning_content"], text(0, 5));
    assert_eq!(whole["choices"][0]["message"]["content"], text(5, 10));
}

#[test]
fn answers_without_a_stream_are_whole() {
    let truth = Truth::start(quick());
    let answer = post(
        &truth,
        COMPLETIONS,
        &json!({"prompt": [1], "max_tokens": 4, "model": "a\"b"}),
    )
    .json();
    assert_eq!(answer["choices"][0]["text"], text(0, 4));
    assert_eq!(answer["model"], "a\"b");
    let answer = post(&truth, "/generate", &json!({"text": "a"})).json();
    assert_eq!(answer["meta_info"]["completion_tokens"], 128);
    let served = truth.served();
    assert_eq!(served.tokens(), 132);
    assert!(
        served
            .requests
            .iter()
            .all(|record| !record.streams && record.chunks == 1)
    );
}

#[test]
fn lengths_and_times_follow_their_distributions() {
    let shape = Shape {
        ttft: Times::Uniform(ms(1), ms(3)),
        output: Output::Uniform(2, 4),
        itl: ms(0),
        ..quick()
    };
    let truth = Truth::start(shape.clone());
    let mut client = Client::connect(&truth);
    for _ in 0..30 {
        client.post(COMPLETIONS, &prompt(50));
    }
    let served = truth.served();
    for record in &served.requests {
        let ttft = record.plan.first - record.plan.arrival;
        assert_eq!(ttft, shape.ttft_ns(record.number));
        assert!((1_000_000..3_000_000).contains(&ttft), "{ttft}");
        assert!((2..=4).contains(&record.tokens));
    }
    assert_eq!(served.connections, 1);
    assert_eq!(served.ends()["short"], 30);
    let median: Vec<u64> = (0..999)
        .map(|number| {
            Shape {
                ttft: Times::LogNormal(ms(100), 0.5),
                ..quick()
            }
            .ttft_ns(number)
        })
        .collect();
    let below = median.iter().filter(|time| **time < 100_000_000).count();
    assert!((400..600).contains(&below), "{below}");
}

#[test]
fn the_pages_are_those_of_sglang() {
    let truth = Truth::start(Shape {
        prefix_cache: Some(0.5),
        ..quick()
    });
    assert_eq!(get(&truth, "/health").status, 200);
    assert_eq!(get(&truth, "/v1/models").json()["data"][0]["id"], "truth/model");
    for path in ["/model_info", "/get_model_info"] {
        assert_eq!(get(&truth, path).json()["served_model_name"], "truth/model");
    }
    for path in ["/server_info", "/get_server_info"] {
        assert_eq!(get(&truth, path).json()["version"], "0.5.23");
    }
    assert_eq!(get(&truth, "/nowhere").status, 404);
    assert_eq!(get(&truth, COMPLETIONS).status, 405);
    for _ in 0..2 {
        post(&truth, COMPLETIONS, &prompt(5));
    }
    let page = get(&truth, "/metrics").text();
    for row in [
        "sglang:num_running_reqs{model_name=\"truth/model\"} 0.0",
        "sglang:num_queue_reqs{model_name=\"truth/model\"} 0.0",
        "sglang:prompt_tokens_total{model_name=\"truth/model\",is_streaming=\"true\"} 6.0",
        "sglang:generation_tokens_total{model_name=\"truth/model\",is_streaming=\"true\"} 10.0",
        "sglang:cached_tokens_total{model_name=\"truth/model\",cache_source=\"device\"} 2.0",
        "sglang:time_to_first_token_seconds_count{model_name=\"truth/model\",is_streaming=\"true\"} 2.0",
    ] {
        assert!(page.lines().any(|line| line == row), "{row}\n{page}");
    }
}

#[test]
fn the_truth_is_told_and_starts_again() {
    let truth = Truth::start(quick());
    post(&truth, COMPLETIONS, &prompt(5));
    let told = get(&truth, "/truth").json();
    let summary = &told["summary"];
    assert_eq!(summary["counted"], 1);
    assert_eq!(summary["planned"]["ttft"]["p50_ms"], 4.0);
    assert_eq!(summary["planned"]["tpot"]["p99_ms"], 1.0);
    assert_eq!(summary["planned"]["itl"]["count"], 4);
    assert_eq!(summary["planned"]["latency"]["mean_ms"], 8.0);
    assert_eq!(summary["lateness"]["count"], 5);
    assert_eq!(
        summary["known"].as_bool(),
        Some(truth.served().unknown().is_none())
    );
    assert_eq!(told["requests"][0]["end"], "complete");
    let mut client = Client::connect(&truth);
    client.send("POST", "/truth/reset", "");
    assert_eq!(client.receive().status, 200);
    assert!(truth.served().requests.is_empty());
    client.post(COMPLETIONS, &prompt(1));
    assert_eq!(truth.served().requests[0].number, 0);
}
