//! `dsr1 bench report`: kept results as text, as a page and as a table. The page is read as XML, so that a text which becomes
//! markup is found wherever it is. The results are of `tests/bench/truth.rs`; `doubtful.json` is of a version without
//! distributions.

use std::collections::{BTreeMap, BTreeSet};

use dsr1::report::{Measurement, Verdict};
use dsr1::ui::{KeptResult, results_page, results_sheet};
use proptest::prelude::*;
use roxmltree::Document;

use crate::support::Home;

const TRUSTED: &str = include_str!("../fixtures/results/trusted.json");
const DOUBTFUL: &str = include_str!("../fixtures/results/doubtful.json");
const UNTRUSTED: &str = include_str!("../fixtures/results/untrusted.json");
const NOTHING: &str = include_str!("../fixtures/results/nothing.json");

fn measurement(text: &str) -> Measurement {
    serde_json::from_str(text).unwrap()
}

fn page(text: &str) -> String {
    let measurement = measurement(text);
    results_page(&[KeptResult {
        file: "run.json",
        measurement: &measurement,
    }])
}

/// The part of a page that shows results.
fn main_part(page: &str) -> &str {
    let from = page.find("<main>").unwrap();
    &page[from..page.find("</main>").unwrap() + "</main>".len()]
}

/// The texts of a page in their order, titles of plots left out.
fn texts(document: &Document<'_>) -> Vec<String> {
    let shown = document
        .descendants()
        .filter(|node| node.is_text() && node.ancestors().all(|above| !above.has_tag_name("title")));
    shown
        .filter_map(|node| node.text().map(str::trim))
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Tags of a page before its style.
const HEAD_TAGS: usize = 9;

/// Asserts that a page has only elements, attributes and targets of dsr1's own.
fn assert_harmless(page: &str) {
    let document = Document::parse(main_part(page)).unwrap_or_else(|error| panic!("{error}\n{page}"));
    let head = &page[..page.find("<style>").unwrap()];
    assert_eq!(head.matches(['<', '>']).count(), 2 * HEAD_TAGS, "{head}");
    let elements: BTreeSet<&str> =
        "a b br circle code dd details div dl dt figcaption figure footer g h1 h2 h3 header \
        li line main p path rect s section span strong summary svg table tbody td text th thead title tr ul"
            .split_whitespace()
            .collect();
    let attributes: BTreeSet<&str> =
        "aria-label class cx cy d data-title height href id preserveAspectRatio r role \
        scope viewBox width x x1 x2 y y1 y2"
            .split_whitespace()
            .collect();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        assert!(elements.contains(name), "<{name}>");
        for attribute in node.attributes() {
            let (name, value) = (attribute.name(), attribute.value());
            assert!(attributes.contains(name), "{name}=\"{value}\"");
            assert!(name != "href" || value.starts_with("#run-"), "{value}");
        }
    }
    assert!(
        page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'; "),
        "no policy"
    );
    assert_eq!(page.matches("<style>").count(), 1);
    assert!(!page.contains("<script") && !page.contains("url(") && !page.contains("@import"));
}

#[test]
fn a_page_says_first_whether_the_figures_may_be_used() {
    for (text, word) in [
        (TRUSTED, "TRUSTED"),
        (DOUBTFUL, "DOUBTFUL"),
        (UNTRUSTED, "NOT TRUSTED"),
        (NOTHING, "NOT TRUSTED"),
    ] {
        let page = page(text);
        assert_harmless(&page);
        let at = page.find("<section class=\"trust").unwrap();
        assert!(page[at..].contains(&format!("<strong>{word}</strong>")), "{word}");
        assert!(page.find("<h2").is_none_or(|first| at < first), "{word}");
    }
}

#[test]
fn a_small_page_has_these_texts() {
    let mut measurement = measurement(DOUBTFUL);
    measurement.definitions.retain(|tool, _| tool == "vllm");
    let page = results_page(&[KeptResult {
        file: "run.json",
        measurement: &measurement,
    }]);
    let document = Document::parse(main_part(&page)).unwrap();
    insta::assert_snapshot!("page", texts(&document).join("\n"));
}

/// Each figure that must not be used is struck: none of them stands as a plain number.
#[test]
fn a_figure_that_must_not_be_used_is_struck() {
    let page = page(UNTRUSTED);
    let document = Document::parse(main_part(&page)).unwrap();
    let is_struck = |node: &roxmltree::Node<'_, '_>| node.ancestors().any(|above| above.has_tag_name("s"));
    let of_class = |class: &'static str| {
        document
            .descendants()
            .filter(move |node| node.attribute("class") == Some(class))
    };
    let mut struck = 0;
    for cell in of_class("value").chain(of_class("figures").flat_map(|table| table.descendants())) {
        let is_figure = cell.has_tag_name("td") || cell.attribute("class") == Some("value");
        let is_count = cell
            .parent()
            .is_some_and(|row| row.descendants().any(|cell| cell.text() == Some("samples")));
        if !is_figure || is_count {
            continue;
        }
        for text in cell
            .descendants()
            .filter(|node| node.is_text() && node.text() != Some("-"))
        {
            assert!(is_struck(&text), "{:?}", text.text());
            struck += 1;
        }
    }
    assert!(struck > 100, "{struck}");
    // A table for machines has no number at all.
    let rows = sheet(&[UNTRUSTED]);
    assert_eq!(rows[0]["output_throughput_tokens_per_s"], "");
    assert_eq!(
        (rows[0]["trust"].as_str(), rows[0]["ttft_mean_ms"].as_str()),
        ("untrusted", "")
    );
    assert!(
        rows[0]["reasons"].contains("of 223 measured requests failed"),
        "{:?}",
        rows[0]["reasons"]
    );
}

#[test]
fn a_percentile_without_its_samples_is_a_dash_with_the_reason() {
    let page = page(TRUSTED);
    assert!(page.contains("p99 needs 662, p99.9 needs 6636."), "{page}");
    assert!(page.contains("p99 needs 662 samples</text>"), "{page}");
}

#[test]
fn several_runs_have_a_table_and_a_curve() {
    let results = [TRUSTED, DOUBTFUL, UNTRUSTED, NOTHING].map(measurement);
    let names = ["a.json", "b.json", "c.json", "d.json"];
    let kept: Vec<KeptResult<'_>> = names
        .iter()
        .zip(&results)
        .map(|(file, measurement)| KeptResult { file, measurement })
        .collect();
    let page = results_page(&kept);
    assert_harmless(&page);
    for text in [
        "<h1>4 measurements</h1>",
        "2 NOT TRUSTED",
        "1 DOUBTFUL",
        "1 TRUSTED",
        "Output tokens a second per GPU",
        "class=\"point hollow\"",
        "class=\"point dead\"",
        "href=\"#run-4\"",
        "id=\"run-4\"",
        "d.json has no median of TPOT",
    ] {
        assert!(page.contains(text), "{text}");
    }
    // Without the number of GPUs of one server, rates are those of whole servers.
    let mut whole = results[0].clone();
    whole.server.arguments.remove("tp_size");
    let kept = [
        kept[1],
        KeptResult {
            file: "whole.json",
            measurement: &whole,
        },
    ];
    assert!(results_page(&kept).contains("Output tokens a second per server"));
}

/// The table as names and cells. Its texts have no line ends, and the fixtures no quotes.
fn sheet(texts: &[&str]) -> Vec<BTreeMap<String, String>> {
    let results: Vec<Measurement> = texts.iter().map(|text| measurement(text)).collect();
    let kept: Vec<KeptResult<'_>> = results
        .iter()
        .map(|measurement| KeptResult {
            file: "run.json",
            measurement,
        })
        .collect();
    let sheet = results_sheet(&kept);
    let mut lines = sheet.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| {
        let mut cells = vec![String::new()];
        let mut is_quoted = false;
        for c in line.chars() {
            match c {
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => cells.push(String::new()),
                c => cells.last_mut().unwrap().push(c),
            }
        }
        assert_eq!(cells.len(), names.len(), "{line}");
        names.iter().map(|name| (*name).to_owned()).zip(cells).collect()
    };
    lines.map(row).collect()
}

/// A change here is a change for every program that reads the table.
#[test]
fn the_columns_of_the_table_are_stable() {
    let results = [measurement(TRUSTED)];
    let sheet = results_sheet(&[KeptResult {
        file: "run.json",
        measurement: &results[0],
    }]);
    let mut lines = sheet.split("\r\n");
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    insta::assert_snapshot!("columns", names.join("\n"));
    let rows = self::sheet(&[TRUSTED, DOUBTFUL]);
    assert_eq!(
        (rows[0]["gpus"].as_str(), rows[0]["trust"].as_str()),
        ("1", "trusted")
    );
    assert_eq!(
        (rows[1]["load"].as_str(), rows[1]["request_rate_per_s"].as_str()),
        ("poisson", "12")
    );
    assert!(rows[0]["ttft_p50_ms"].parse::<f64>().unwrap() > 0.0 && rows[0]["ttft_p99_ms"].is_empty());
}

/// Puts a text into each place of a result that a server, a user or another host decides.
fn poison(measurement: &mut Measurement, text: &str) {
    let own = || text.to_owned();
    measurement.began = own();
    measurement.saved_to = Some(own());
    let server = &mut measurement.server;
    (server.name, server.base_url, server.model) = (Some(own()), own(), own());
    (server.profile, server.stack, server.sglang) = (Some(own()), Some(own()), Some(own()));
    server.arguments.insert(own(), own());
    server.host.insert(own(), own());
    (measurement.load.api, measurement.load.kind, measurement.load.data) = (own(), own(), own());
    (measurement.client.name, measurement.client.version) = (own(), own());
    measurement.requests.failed.insert(own(), 1);
    measurement.requests.failed_elsewhere.insert(own(), 1);
    measurement.requests.examples.insert(own(), own());
    measurement.requests.finish.insert(own(), 1);
    let mut others = measurement
        .definitions
        .values()
        .next()
        .cloned()
        .unwrap_or_default();
    others.remarks.push(own());
    measurement.definitions.insert(own(), others);
    measurement.verdicts.push(Verdict {
        about: own(),
        trust: measurement.trust,
        text: own(),
        hint: own(),
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever a text is, it stays a text: the page has the elements of dsr1 and no other.
    #[test]
    fn no_text_becomes_markup(text in "(\\PC|[<>\"'&`=/;:\\-!]|<script>|</svg>|]]>|<!--|\" onload=|&lt;|javascript:|\n|\u{0}|\u{202e}){0,24}") {
        for fixture in [TRUSTED, UNTRUSTED, NOTHING] {
            let mut one = measurement(fixture);
            poison(&mut one, &text);
            let file = text.as_str();
            assert_harmless(&results_page(&[KeptResult { file, measurement: &one }]));
            let other = measurement(TRUSTED);
            let both = [KeptResult { file, measurement: &one }, KeptResult { file, measurement: &other }];
            assert_harmless(&results_page(&both));
            let sheet = results_sheet(&both);
            prop_assert!(!sheet.lines().any(|line| line.starts_with(['=', '+', '-', '@'])));
        }
    }

    /// Whatever the numbers of a file are, a page is made of them, with places that a browser can draw.
    #[test]
    fn no_number_breaks_a_plot(number in prop_oneof![
        Just(0.0), Just(-1.0), Just(1e300), Just(f64::MAX), Just(f64::MIN_POSITIVE), Just(-1e300), any::<f64>(),
    ], whole in any::<u64>()) {
        let mut one = measurement(TRUSTED);
        one.run_s = number;
        one.warm_up_s = Some(number);
        one.window_s = Some(number);
        for second in &mut one.timeline {
            (second.at_s, second.tokens, second.in_flight) = (number, number, number);
            (second.failed, second.ended) = (u32::MAX, u32::MAX);
        }
        let figures = one.figures.as_mut().unwrap();
        (figures.output_throughput, figures.concurrency) = (number, number);
        figures.tpot.p50_ms = Some(number);
        figures.ttft.p99_9_ms = Some(number);
        figures.ttft.count = whole;
        figures.distributions.ttft_ms = vec![number; 3];
        one.requests.failed.insert("x".to_owned(), u64::MAX);
        one.requests.failed.insert("y".to_owned(), whole);
        let kept = KeptResult { file: "run.json", measurement: &one };
        for page in [results_page(&[kept]), results_page(&[kept, kept])] {
            assert_harmless(&page);
            let document = Document::parse(main_part(&page)).unwrap();
            for attribute in document.descendants().flat_map(|node| node.attributes()) {
                let (name, value) = (attribute.name(), attribute.value());
                let is_text = ["class", "aria-label", "data-title", "href"].contains(&name);
                prop_assert!(is_text || !value.contains("NaN") && !value.contains("inf"), "{}={}", name, value);
            }
        }
    }
}

/// A secret that a server or a proxy says does not leave the host in a page.
#[test]
fn a_secret_is_in_no_page() {
    let mut one = measurement(UNTRUSTED);
    let secret = "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH";
    one.server.base_url = format!("http://user:{secret}@host:30000");
    one.server
        .arguments
        .insert("api_key".to_owned(), secret.to_owned());
    one.requests
        .examples
        .insert("HTTP 503".to_owned(), format!("Authorization: Bearer {secret}"));
    let kept = KeptResult {
        file: "run.json",
        measurement: &one,
    };
    for text in [
        results_page(&[kept]),
        results_page(&[kept, kept]),
        results_sheet(&[kept]),
    ] {
        assert!(!text.contains("abcdefghij"), "{text}");
    }
}

#[test]
fn the_command_writes_what_is_asked_for_and_replaces_nothing() {
    let home = Home::new();
    std::fs::write(home.path().join("run.json"), TRUSTED).unwrap();
    std::fs::write(home.path().join("bad.json"), UNTRUSTED).unwrap();
    let both = [
        "bench", "report", "run.json", "bad.json", "--html", "out.html", "--csv", "out.csv",
    ];
    assert_eq!(
        home.run(&both).expect(0).stdout,
        "wrote out.html\nwrote out.csv\n"
    );
    let html = std::fs::read_to_string(home.path().join("out.html")).unwrap();
    assert_harmless(&html);
    assert_eq!(
        std::fs::read_to_string(home.path().join("out.csv"))
            .unwrap()
            .lines()
            .count(),
        3
    );
    let again = home.run(&both).expect(2);
    assert!(
        again.stderr.contains("`out.html` exists already"),
        "{}",
        again.stderr
    );
    home.run(&[&both[..], &["--force"]].concat()).expect(0);
    // A page shows results; that of a measurement which is not to be trusted is no failure.
    let text = home
        .run(&["bench", "report", "bad.json", "--as", "vllm"])
        .expect(0)
        .stdout;
    for part in [
        "Serving Benchmark Result",
        "NOT TRUSTED",
        "kept in bad.json",
        "In terms of vllm",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = home
        .run(&["bench", "report", "run.json", "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(json["schema"], "dsr1.bench-report/1");
    assert_eq!(json["measurements"][0]["trust"], "trusted");
}

#[test]
fn a_file_that_is_no_result_is_refused() {
    let home = Home::new();
    std::fs::write(home.path().join("report.json"), "{\"schema\": \"dsr1.report/1\"}").unwrap();
    std::fs::write(
        home.path().join("broken.json"),
        TRUSTED.replace("\"seed\": ", "\"seed\": -"),
    )
    .unwrap();
    for (file, cause) in [
        (
            "report.json",
            "`schema` is `dsr1.report/1`, expected `dsr1.measurement/1`",
        ),
        ("broken.json", "`load.seed`: wrong value: "),
        ("absent.json", "No such file or directory"),
    ] {
        let refused = home
            .run(&["bench", "report", file, "--html", "out.html"])
            .expect(2);
        assert!(
            refused.stderr.contains(file) && refused.stderr.contains(cause),
            "{}",
            refused.stderr
        );
    }
    assert!(!home.path().join("out.html").exists());
    let none = home.run(&["bench", "report"]).expect(2);
    assert!(none.stderr.contains("<FILE>"), "{}", none.stderr);
}
