//! The names that a server exports, beside those that the dashboard and the alerts ask for.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::profile::Version;
use crate::sglang::metrics::alerts::alerts;
use crate::sglang::metrics::panels::panels;
use crate::sglang::metrics::query::metrics_of;
use crate::sglang::metrics::table::{Appears, Metric};

/// A metric that is needed, and the titles of the panels and the names of the alerts that ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// The metric.
    pub metric: &'static Metric,
    /// Titles and names.
    pub used_by: Vec<&'static str>,
}

/// A metric that a server does not export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Absence {
    /// The name of the metric.
    pub name: &'static str,
    /// The panels and the alerts that ask for it.
    pub used_by: Vec<&'static str>,
    /// The reason, if a healthy server may not have it yet; without one it is missing.
    pub reason: Option<String>,
}

/// Largest number of names that are read from an answer; version 0.5.23 has 300.
const MOST_NAMES: usize = 20_000;
/// Longest name that is read, in bytes.
const LONGEST_NAME: usize = 200;

/// Returns the metrics that the dashboard and the alerts for a version ask for.
#[must_use]
pub fn needed(version: Version) -> Vec<Needed> {
    let mut found: Vec<Needed> = Vec::new();
    let queries = panels(version).into_iter().flat_map(|panel| {
        let title = panel.title;
        panel.targets.into_iter().map(move |target| (title, target.query))
    });
    // The limit of an alert names no metric.
    let conditions = alerts(version, 30)
        .into_iter()
        .map(|alert| (alert.name, alert.condition));
    for (user, query) in queries.chain(conditions) {
        for metric in metrics_of(&query, version).0 {
            match found.iter_mut().find(|needed| needed.metric == metric) {
                Some(needed) if needed.used_by.contains(&user) => {}
                Some(needed) => needed.used_by.push(user),
                None => found.push(Needed {
                    metric,
                    used_by: vec![user],
                }),
            }
        }
    }
    found
}

/// Returns the names of SGLang's series in an answer of `/metrics`, which may hold anything.
#[must_use]
pub fn names_in(exposition: &str) -> BTreeSet<String> {
    exposition
        .lines()
        .filter_map(|line| {
            let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')?;
            let name = line.get(..end)?;
            (name.starts_with("sglang:") && name.len() <= LONGEST_NAME).then(|| name.to_owned())
        })
        .take(MOST_NAMES)
        .collect()
}

/// The query that asks a Prometheus for the names of SGLang's series, encoded for a URL:
/// `count by (__name__) ({__name__=~"sglang[:_].*"})`. Names with `_` are those of a scrape that does not rename them.
pub const NAMES_QUERY: &str = "count%20by%20(__name__)%20(%7B__name__%3D~%22sglang%5B%3A_%5D.*%22%7D)";

/// Returns the names in a Prometheus's answer to [`NAMES_QUERY`]; `None` if it is not the answer of a Prometheus.
#[must_use]
pub fn names_of_prometheus(answer: &Value) -> Option<BTreeSet<String>> {
    let result = (answer["status"] == "success").then(|| answer["data"]["result"].as_array())??;
    let names = result.iter().take(MOST_NAMES);
    Some(
        names
            .filter_map(|one| one["metric"]["__name__"].as_str())
            .filter(|name| name.len() <= LONGEST_NAME)
            .map(str::to_owned)
            .collect(),
    )
}

/// Returns the metrics that the version needs and that are not among the names.
#[must_use]
pub fn absent(version: Version, names: &BTreeSet<String>) -> Vec<Absence> {
    let needed = needed(version);
    let is_there = |metric: &Metric| names.contains(&metric.series());
    // After the first request all of these are there: one that is missing then has another name.
    let served = needed
        .iter()
        .any(|one| one.metric.appears == Appears::AfterRequest && is_there(one.metric));
    needed
        .into_iter()
        .filter(|one| !is_there(one.metric))
        .map(|one| Absence {
            name: one.metric.name,
            used_by: one.used_by,
            reason: match one.metric.appears {
                Appears::AfterRequest if !served => Some("the first request that ends".to_owned()),
                Appears::After(event) => Some(event.to_owned()),
                Appears::Always | Appears::AfterRequest => None,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Catalog, Version};
    use crate::sglang::flags::{Parser, history};
    use crate::sglang::metrics::table::{Kind, METRICS};

    /// The versions of all option tables, and those of the stacks.
    fn versions() -> Vec<Version> {
        let mut all = history(Parser::Server).versions().to_vec();
        let catalog = Catalog::load(None).unwrap();
        all.extend(catalog.stacks().map(|stack| stack.pins.sglang));
        all
    }

    #[test]
    fn no_query_names_a_metric_that_the_version_lacks() {
        for version in versions() {
            let panels = panels(version);
            let queries = panels.iter().flat_map(|panel| &panel.targets);
            let queries: Vec<String> = queries.map(|target| target.query.clone()).collect();
            let alerts = alerts(version, 30);
            let conditions = alerts
                .iter()
                .flat_map(|alert| alert.signals.iter().chain([&alert.condition]).cloned());
            for query in queries.into_iter().chain(conditions) {
                assert_eq!(
                    metrics_of(&query, version).1,
                    Vec::<String>::new(),
                    "{version}: {query}"
                );
            }
            assert!(panels.len() >= 13 - 4 && alerts.len() >= 7, "{version}");
        }
        // A name of another version is found.
        let unknown = metrics_of("sglang:total_retracted_reqs", Version::new(0, 5, 23)).1;
        assert_eq!(unknown, ["sglang:total_retracted_reqs"]);
    }

    #[test]
    fn every_metric_of_the_table_is_used() {
        let used: BTreeSet<&str> = versions()
            .into_iter()
            .flat_map(needed)
            .map(|one| one.metric.name)
            .collect();
        let all: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(used, all);
        for metric in METRICS {
            let is_counter = metric.name.ends_with("_total");
            assert_eq!(is_counter, metric.kind == Kind::Counter, "{}", metric.name);
        }
    }

    #[test]
    fn a_renamed_metric_is_missing_and_one_that_did_not_happen_yet_is_not() {
        let version = Version::new(0, 5, 23);
        let all: BTreeSet<String> = needed(version).iter().map(|one| one.metric.series()).collect();
        assert_eq!(absent(version, &all), []);
        let mut names = all.clone();
        names.remove("sglang:time_to_first_token_seconds_bucket");
        names.remove("sglang:num_aborted_requests_total");
        let found = absent(version, &names);
        let reason = |name: &str| {
            let one = found.iter().find(|one| one.name == name).unwrap();
            assert!(!one.used_by.is_empty());
            one.reason.clone()
        };
        assert_eq!(found.len(), 2);
        assert_eq!(reason("sglang:time_to_first_token_seconds"), None);
        assert!(reason("sglang:num_aborted_requests_total").is_some());
        // A server that has served nothing has none of them.
        let found = absent(version, &BTreeSet::new());
        let of = |name: &str| found.iter().find(|one| one.name == name).unwrap().reason.clone();
        assert!(of("sglang:time_to_first_token_seconds").is_some());
        assert_eq!(of("sglang:token_usage"), None);
    }

    #[test]
    fn names_are_read_from_any_text() {
        let text = "# HELP sglang:a x\nsglang:a{b=\"c\"} 1\nsglang:b_bucket{le=\"1\"} 2\nup 1\nsglang:c\u{1b} 1\nsglang:d\n";
        let names: Vec<String> = names_in(text).into_iter().collect();
        assert_eq!(names, ["sglang:a", "sglang:b_bucket", "sglang:c"]);
        let long = format!("sglang:{} 1\n", "x".repeat(500));
        assert_eq!(names_in(&long), BTreeSet::new());
    }
}
