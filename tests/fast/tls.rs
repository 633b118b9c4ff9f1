//! `dsr1 bench` of a server behind TLS: the figures are those of the server, connections end in each way, and what is wrong is said.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::first_hour::{ended_server, running_server};
use crate::support::tls::{Authority, Certificate, Ending, Front};
use crate::support::truth::{Shape, Truth};
use crate::support::{Home, Run};

/// A server, TLS in front of it, and a home that trusts it.
struct Site {
    truth: Truth,
    front: Front,
    home: Home,
}

fn site(kind: Certificate, ending: Ending) -> Site {
    let truth = Truth::start(Shape::new(Duration::from_millis(40), Duration::from_millis(4)));
    let home = Home::new();
    let authority = Authority::new(home.path());
    let front = Front::start(&authority, kind, ending, truth.port());
    let home = home.with("SSL_CERT_FILE", authority.file());
    Site { truth, front, home }
}

/// Runs a load of 4 streams, 60 requests of 10 tokens.
fn bench(home: &Home, url: &str, more: &[&str]) -> Run {
    let usual = [
        ["--isl", "50"],
        ["--num-prompts", "60"],
        ["--max-concurrency", "4"],
    ];
    let load = "bench --vocabulary 1000 --osl 10 --duration 0 --url";
    let mut words: Vec<&str> = load.split(' ').chain([url]).chain(more.iter().copied()).collect();
    let others = usual.iter().filter(|[option, _]| !more.contains(option));
    words.extend(others.flatten());
    home.run(&words)
}

fn result_of(run: &Run) -> Value {
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    report["steps"][0]["outcome"].clone()
}

const JSON: [&str; 4] = ["--format", "json", "--progress", "quiet"];

/// The kernel stamps the packets before they are decrypted, and no handshake is in a TTFT.
#[test]
fn figures_within_tls_are_those_of_the_server() {
    let site = site(Certificate::Good, Ending::AsBehind);
    let result = result_of(&bench(&site.home, &site.front.url(), &JSON));
    let served = site.truth.served().summary();
    let figure = |path: &str| result.pointer(path).and_then(Value::as_f64).unwrap();
    let ttft = figure("/figures/ttft/mean_ms");
    let true_ttft = served
        .pointer("/written/ttft/mean_ms")
        .and_then(Value::as_f64)
        .unwrap();
    assert!((ttft - true_ttft).abs() < 5.0, "{ttft} {true_ttft}");
    let tpot = figure("/figures/tpot/p50_ms");
    assert!((tpot - 4.0).abs() < 0.5, "{tpot}");
    assert_eq!(result["requests"]["failed"], serde_json::json!({}));
    assert_eq!(result["figures"]["output_tokens"], 600);
    assert_eq!(result["figures"]["counts_each_chunk"], true);
    assert!(
        result["client"]["stamped_share"]
            .as_f64()
            .is_some_and(|share| share > 0.5)
    );
    // Four streams, one look at the certificate, and the questions before and after.
    let connections = site.front.connections();
    assert!((5..=15).contains(&connections), "{connections}");
}

/// A body that is larger than what the kernel and TLS take at once.
#[test]
fn long_prompts_go_through_tls_whole() {
    let site = site(Certificate::Good, Ending::AsBehind);
    let more = ["--isl", "60000", "--num-prompts", "11"];
    let run = bench(&site.home, &site.front.url(), &[&JSON[..], &more].concat());
    let result = result_of(&run);
    assert_eq!(
        result["requests"]["failed"],
        serde_json::json!({}),
        "{}",
        run.stderr
    );
    assert_eq!(result["figures"]["input_tokens"], 60_000 * 11);
}

#[test]
fn connections_that_the_server_closes_between_requests_are_opened_again() {
    for ending in [Ending::After(1), Ending::AbruptlyAfter(1)] {
        let site = site(Certificate::Good, ending);
        let run = bench(&site.home, &site.front.url(), &JSON);
        let result = result_of(&run);
        assert_eq!(result["requests"]["failed"], serde_json::json!({}), "{ending:?}");
        assert_eq!(result["requests"]["completed"], 60, "{ending:?}");
        assert!(site.front.connections() > 60, "{ending:?}");
    }
}

#[test]
fn an_answer_whose_connection_is_half_closed_is_a_failure() {
    let site = site(Certificate::Good, Ending::HalfWithinAfter(1));
    let run = bench(&site.home, &site.front.url(), &JSON).expect(9);
    let result = result_of(&run);
    let failed: BTreeMap<String, u64> = serde_json::from_value(result["requests"]["failed"].clone()).unwrap();
    let kinds: Vec<&str> = failed.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["the answer was cut off"], "{failed:?}");
    let example = result["requests"]["examples"]["the answer was cut off"].to_string();
    assert!(example.contains("TLS had not ended"), "{example}");
    assert!(result["requests"]["completed"].as_u64().unwrap() > 0);
}

#[test]
fn each_reason_for_which_tls_fails_is_said_with_what_to_type() {
    let expired = site(Certificate::Expired, Ending::AsBehind);
    let named = site(Certificate::OtherName, Ending::AsBehind);
    let good = site(Certificate::Good, Ending::AsBehind);
    let signs_itself = site(Certificate::Authority, Ending::AsBehind);
    let stranger = Home::new();
    let authority = Authority::new(stranger.path());
    let stranger = stranger.with("SSL_CERT_FILE", authority.file());
    let plain = format!("https://localhost:{}", good.truth.port());
    let within = format!("http://localhost:{}", good.front.port());
    let to_type = format!("type --url https://localhost:{}", good.front.port());
    let cases: [(&Home, &str, &[&str]); 6] = [
        (
            &stranger,
            &good.front.url(),
            &[
                "signed by an authority that this host does not trust",
                "(SSL_CERT_FILE)",
                "in place of those of this host",
                "SSL_CERT_FILE=FILE",
            ],
        ),
        (
            &expired.home,
            &expired.front.url(),
            &["its certificate expired at 2001-12-31T00:00:00Z", "renew it"],
        ),
        (
            &named.home,
            &named.front.url(),
            &[
                "its certificate is for other.example, not for localhost",
                "in --url",
            ],
        ),
        (
            &signs_itself.home,
            &signs_itself.front.url(),
            &["that of an authority", "basicConstraints=CA:FALSE"],
        ),
        (
            &good.home,
            &plain,
            &["its port does not speak TLS", "type --url http://"],
        ),
        (
            &good.home,
            &within,
            &["speaks TLS, and the URL does not", &to_type],
        ),
    ];
    for (home, url, expected) in cases {
        for more in [&[][..], &["--model", "m"], &["--request-rate", "20"]] {
            let run = bench(home, url, more);
            assert!([7, 9].contains(&run.code), "{url} {more:?}: {run:?}");
            for text in expected {
                assert!(run.stderr.contains(text), "{url} {more:?}: {}", run.stderr);
            }
        }
    }
}

/// Such a file would be read in place of the authorities of this host: nothing would be trusted, and no message would say why.
#[test]
fn a_variable_that_names_no_file_of_authorities_is_refused_by_its_name() {
    let good = site(Certificate::Good, Ending::AsBehind);
    let mistyped = Home::new().with("SSL_CERT_FILE", "/no/such/authority.pem");
    for more in [&[][..], &["--model", "m"]] {
        let run = bench(&mistyped, &good.front.url(), more);
        let expected = "SSL_CERT_FILE names no file: `/no/such/authority.pem`";
        assert_ne!(run.code, 0, "{run:?}");
        assert!(run.stderr.contains(expected), "{more:?}: {}", run.stderr);
        assert!(
            run.stderr.contains("unset SSL_CERT_FILE"),
            "{more:?}: {}",
            run.stderr
        );
    }
}

/// The whole way of a user: `dsr1 expose` with a certificate and a key, measured as its clients see it.
#[test]
fn an_exposed_server_is_measured_with_its_key_and_the_key_is_nowhere() {
    let truth = Truth::start(Shape::new(Duration::from_millis(40), Duration::from_millis(4)));
    let home = Home::new().without_docker();
    let authority = Authority::new(home.path());
    let (certificate, key_file) = authority.sign_to(home.path());
    ended_server(&home, "dsr1-a", truth.port());
    let mut server = running_server(&home, "dsr1-a");
    let words = "expose a --listen 127.0.0.1:0 --format json --tls-cert";
    let words: Vec<&str> = words.split(' ').chain([certificate.to_str().unwrap()]).collect();
    let exposed = home.start(&[&words[..], &["--tls-key", key_file.to_str().unwrap()]].concat());
    let begun = Instant::now();
    while !exposed.stdout().contains('\n') {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", exposed.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    let first: Value = serde_json::from_str(exposed.stdout().lines().next().unwrap()).unwrap();
    let url = first["base_url"].as_str().unwrap().to_owned();
    let keys = std::fs::read_to_string(first["keys_file"].as_str().unwrap()).unwrap();
    let key = keys.lines().next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let client = Home::new().with("SSL_CERT_FILE", authority.file());
    let refused = bench(&client, &url, &[]).expect(7);
    assert!(refused.stderr.contains("401"), "{}", refused.stderr);
    let client = client.with("OPENAI_API_KEY", key.clone());
    let records = client.path().join("records.jsonl");
    let run = bench(
        &client,
        &url,
        &[&JSON[..], &["--records", records.to_str().unwrap()]].concat(),
    );
    let result = result_of(&run);
    assert_eq!(result["requests"]["completed"], 60, "{}", run.stderr);
    assert!(url.starts_with("https://") && records.is_file());
    for (path, bytes) in crate::support::tree(client.path()) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(&key), "{path}");
    }
    assert!(!run.stdout.contains(&key) && !run.stderr.contains(&key));
    let _ = server.kill();
    let _ = server.wait();
}
