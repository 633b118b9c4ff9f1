//! Requests to a hub that may be busy, silent or unreachable: retries, and notes to the user during a wait.

use std::time::Duration;

use tokio::time::Instant;

use super::options::HubOptions;
use crate::effects::http::{Answer, Broken};
use crate::error::{Error, Kind, Result};
use crate::units;

/// Number of tries for a request that the hub may answer later.
const QUESTION_TRIES: u32 = 5;
/// Requests to one hub.
pub(in crate::effects) struct HubRequests<'a> {
    endpoint: &'a str,
    options: HubOptions<'a>,
    /// Time of the last note.
    last_note: Option<Instant>,
}

impl<'a> HubRequests<'a> {
    /// Creates a client of this hub.
    pub(in crate::effects) fn new(endpoint: &'a str, options: HubOptions<'a>) -> Self {
        Self {
            endpoint,
            options,
            last_note: None,
        }
    }

    /// Sends one GET request and returns the answer. Retries if the hub is busy or the connection breaks. Does
    /// not retry if the hub is unreachable, because the user is waiting for the very first answer.
    pub(in crate::effects) async fn get(&mut self, url: &str) -> Result<Answer> {
        let mut pause = Duration::from_millis(250);
        let patience = self.options.limits.idle;
        let mut silent = 0;
        for number in 1.. {
            let Some(answer) = self.get_once(url, patience).await else {
                silent += 1;
                if silent < 2 {
                    continue;
                }
                return Err(Error::new(Kind::Hub, "the hub does not answer")
                    .cause(format!(
                        "no response within {} s (2 attempts)",
                        patience.as_secs()
                    ))
                    .hint(
                        "check the network and proxy, or name another hub with HF_ENDPOINT or --endpoint",
                    ));
            };
            let (wait, why) = match answer {
                Ok(answer)
                    if matches!(answer.status, 408 | 425 | 429 | 500..=599) && number < QUESTION_TRIES =>
                {
                    (
                        answer.requested_wait().unwrap_or_default().max(pause),
                        format!("{} answered with status {}", self.endpoint, answer.status),
                    )
                }
                Ok(answer) => return Ok(answer),
                Err(Broken::Dropped(error)) if number < QUESTION_TRIES => (pause, error.causes().join(": ")),
                Err(broken) => return Err(broken.into_error()),
            };
            self.wait_and_note(wait, &why).await;
            pause *= 2;
        }
        Err(Error::new(Kind::Internal, "a request has no answer"))
    }

    /// Returns the answer, or `None` if none arrived within `patience`.
    async fn get_once(
        &mut self,
        url: &str,
        patience: Duration,
    ) -> Option<std::result::Result<Answer, Broken>> {
        let HubOptions { http, token, .. } = self.options;
        let asked = http.get_from_hub(url, token);
        let until = Instant::now() + patience;
        let mut noticed = Instant::now() + self.options.limits.first_note;
        tokio::pin!(asked);
        loop {
            tokio::select! {
                answer = &mut asked => return Some(answer),
                () = tokio::time::sleep_until(until) => return None,
                () = tokio::time::sleep_until(noticed) => {
                    self.note(|endpoint| format!("no answer from {endpoint} yet"));
                    noticed += self.options.limits.note_interval;
                }
            }
        }
    }

    /// Waits before the next try, and repeats the note during a long wait.
    async fn wait_and_note(&mut self, mut wait: Duration, why: &str) {
        while !wait.is_zero() {
            self.note(|_| format!("{why}: trying again in {}", units::duration(wait)));
            let part = wait.min(self.options.limits.note_interval);
            tokio::time::sleep(part).await;
            wait -= part;
        }
    }

    /// Prints a note, unless the last one was printed less than `note_interval` ago.
    fn note(&mut self, text: impl FnOnce(&str) -> String) {
        let is_due = self
            .last_note
            .is_none_or(|last_note| last_note.elapsed() >= self.options.limits.note_interval);
        if let Some(events) = self.options.events.filter(|_| is_due) {
            self.last_note = Some(Instant::now());
            events.note(text(self.endpoint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;
    use crate::effects::http::Http;
    use crate::event::{Event, Recorder, StepEvents};

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_noted_every_15_seconds() {
        let (http, recorder) = (Http::new(None, &[]), Recorder::default());
        let options = HubOptions {
            http: &http,
            token: None,
            token_from: "",
            offline: false,
            limits: &Limits::DEFAULT,
            events: Some(StepEvents::new(&recorder, 1)),
        };
        let mut questions = HubRequests::new("http://hub", options);
        questions.wait_and_note(Duration::from_secs(40), "busy").await;
        // The next failure follows a moment later: no second note.
        questions.wait_and_note(Duration::from_millis(500), "busy").await;
        let told = recorder.events();
        let waits = ["40s", "25s", "10s"].map(|left| Event::Note {
            text: format!("busy: trying again in {left}"),
        });
        assert_eq!(told, waits);
    }
}
