//! The names of the metrics that a server exports, by itself or by the Prometheus that scrapes it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::effects::execute::Effects;
use crate::error::{Error, Kind, Result};
use crate::sglang::metrics::{NAMES_QUERY, names_in, names_of_prometheus};

/// Longest wait for an answer.
const WAIT: Duration = Duration::from_secs(20);
/// Largest answer of `/metrics` that is read. A server with one rank answers 0.1 MB.
const MOST_BYTES: u64 = 64 << 20;

impl Effects {
    /// Returns the names of SGLang's series at `base_url`: of a Prometheus, the names of series that it has now; of a server, those
    /// of its `/metrics`. Returns the URL that was asked with them.
    ///
    /// # Errors
    /// [`Kind::Server`] when nothing answers, or the answer has no metrics of SGLang.
    pub async fn metric_names(&self, base_url: &str) -> Result<(String, BTreeSet<String>)> {
        let query = format!("{base_url}/api/v1/query?query={NAMES_QUERY}");
        let (status, answer) = self.http().get_json(&query, WAIT).await?;
        if status == 200
            && let Some(names) = names_of_prometheus(&answer)
        {
            return some(base_url.to_owned(), names);
        }
        self.server_metric_names(base_url).await
    }

    /// Returns the names of SGLang's series in the answer of a server's `/metrics`, and the URL of that.
    ///
    /// # Errors
    /// [`Kind::Server`] when nothing answers, or the answer has no metrics of SGLang.
    pub async fn server_metric_names(&self, base_url: &str) -> Result<(String, BTreeSet<String>)> {
        let url = format!("{base_url}/metrics");
        let late = || {
            Error::new(Kind::Server, format!("cannot fetch `{url}`"))
                .cause(format!("no answer within {} s", WAIT.as_secs()))
        };
        let bytes = tokio::time::timeout(WAIT, self.http().get_bytes(&url, MOST_BYTES))
            .await
            .map_err(|_| late())?
            .map_err(|error| error.with_kind(Kind::Server))?;
        let names = names_in(&String::from_utf8_lossy(&bytes));
        some(url, names)
    }
}

fn some(url: String, names: BTreeSet<String>) -> Result<(String, BTreeSet<String>)> {
    let is_original = |name: &String| name.starts_with("sglang:");
    if !names.is_empty() && !names.iter().any(is_original) {
        let cause = "it has them as sglang_NAME, and the queries ask for sglang:NAME";
        return Err(Error::new(Kind::Server, format!("`{url}` has no metrics of SGLang under their names"))
            .cause(cause)
            .hint("take metric_relabel_configs of the job sglang, too, from the prometheus.yml that dsr1 monitoring writes"));
    }
    if names.is_empty() {
        return Err(Error::new(Kind::Server, format!("`{url}` has no metrics of SGLang"))
            .hint("a server has them with --enable-metrics, which dsr1 passes unless a profile has metrics: false")
            .hint("a Prometheus has them once it has scraped the server: its page /targets shows errors"));
    }
    Ok((url, names))
}
