//! The requests of an evaluation, by the client that also measures, in attempts: what failed is asked again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::answers::AnswerFile;
use crate::effects::blocking::blocking;
use crate::effects::load::{Job, StopOnDrop, Target, Watch, run_load};
use crate::error::{Error, Kind, Result};
use crate::evaluate::{
    AnswerSettings, GradedAnswer, Question, QuestionSet, SampledAnswer, grade_answer, make_prompt, stops_of,
    write_answer,
};
use crate::event::StepEvents;
use crate::measure::{Channel, Drawn, End, Extent, Kept, Load, Prompt, Record, RequestSettings, Stage};

/// Pauses before the further attempts to get the answers that failed.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
];
/// Time between two looks at a run.
const LOOK: Duration = Duration::from_millis(100);

/// The server and the settings of the requests.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) target: Target,
    pub(super) model: String,
    pub(super) settings: AnswerSettings,
    pub(super) parallel: u32,
    pub(super) stall_s: u32,
}

/// One answer that is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    /// Place of its question.
    pub(super) index: usize,
    /// Number of the answer to it, from 1.
    pub(super) sample: u32,
}

/// The answers, and what failed on the way.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// All answers, also of earlier starts.
    pub(super) answers: Vec<GradedAnswer>,
    /// Failures by their kind.
    pub(super) failures: BTreeMap<String, u64>,
    /// An example of each kind.
    pub(super) examples: BTreeMap<String, String>,
    /// Time of this start.
    pub(super) run: Duration,
    /// Tokens that were generated in it.
    pub(super) tokens: u64,
}

/// Asks for all answers that are left, and keeps each when it comes.
pub(super) async fn ask_questions(
    asking: &Asking,
    set: &Arc<QuestionSet>,
    mut left: Vec<Planned>,
    (asked, file): (&mut Asked, &mut AnswerFile),
    events: &StepEvents<'_>,
) -> Result<()> {
    let begun = Instant::now();
    let planned = asked.answers.len() + left.len();
    for (number, pause) in [Duration::ZERO].into_iter().chain(PAUSES).enumerate() {
        if left.is_empty() {
            break;
        }
        if pause > Duration::ZERO {
            let what = format!(
                "{} of {planned} requests failed: they are sent again in {} s",
                left.len(),
                pause.as_secs()
            );
            events.activity(&what, Some((asked.answers.len() as u64, planned as u64)));
            tokio::time::sleep(pause).await;
        }
        let before = asked.answers.len();
        let mut attempt = Attempt {
            set,
            settings: &asking.settings,
            order: &left,
            answered: vec![false; left.len()],
            asked,
            file,
        };
        run_attempt(asking, &mut attempt, planned, events).await?;
        let answered = attempt.answered;
        let mut answered = answered.into_iter();
        left.retain(|_| !answered.next().unwrap_or(false));
        if asked.answers.len() == before && number > 0 {
            // A server that answers nothing any more is not asked for long.
            break;
        }
    }
    asked.run = begun.elapsed();
    Ok(())
}

/// One attempt to get the answers that are left.
struct Attempt<'a> {
    set: &'a Arc<QuestionSet>,
    settings: &'a AnswerSettings,
    /// The answers, in the order of their requests.
    order: &'a [Planned],
    answered: Vec<bool>,
    asked: &'a mut Asked,
    file: &'a mut AnswerFile,
}

impl Attempt<'_> {
    /// Takes a request that ended.
    fn take_record(&mut self, record: Record) -> Result<()> {
        let number = usize::try_from(record.number).unwrap_or(usize::MAX);
        let Some(planned) = self.order.get(number).copied() else {
            return Ok(());
        };
        let finish = match &record.end {
            End::Complete(finish) => finish.name().to_owned(),
            End::Failed(failure) => {
                let kind = failure.kind.describe();
                *self.asked.failures.entry(kind.clone()).or_default() += 1;
                let text = failure.text.clone();
                self.asked.examples.entry(kind).or_insert(text);
                return Ok(());
            }
            End::Cut => return Ok(()),
        };
        let question: &Question = &self.set.questions[planned.index];
        let answer = answer_of(record, question.number, planned.sample, finish);
        let grade = grade_answer(self.settings.task, question, &answer);
        self.file.append(&write_answer(question, &answer, &grade)?)?;
        self.asked.tokens += answer.completion_tokens;
        self.asked.answers.push(grade);
        self.answered[number] = true;
        Ok(())
    }
}

fn answer_of(record: Record, question: u32, sample: u32, finish: String) -> SampledAnswer {
    let usage = record.usage.unwrap_or_default();
    let reasons = record
        .chunks
        .iter()
        .filter(|chunk| chunk.channel == Channel::Reasoning)
        .map(|chunk| u64::from(chunk.tokens));
    let (count, sum) = reasons.fold((0_u64, 0), |(count, sum), tokens| (count + 1, sum + tokens));
    let counted = (count > 0 && record.has_growth()).then_some(sum);
    let seconds = record.ended.since(record.sent).as_secs_f64();
    let text = record.text.map(|text| *text).unwrap_or_default();
    SampledAnswer {
        question,
        sample,
        finish,
        prompt_tokens: usage.prompt,
        completion_tokens: usage.completion,
        reasoning_tokens: usage.reasoning.or(counted),
        seconds,
        reasoning: text.reasoning,
        answer: text.answer,
    }
}

/// Sends the requests of an attempt, and takes their answers.
async fn run_attempt(
    asking: &Asking,
    attempt: &mut Attempt<'_>,
    planned: usize,
    events: &StepEvents<'_>,
) -> Result<()> {
    let (sender, mut receiver) = unbounded_channel();
    let watch = Arc::new(Watch::with_receiver(sender));
    // A run ends when nobody waits for it any more.
    let _guard = StopOnDrop(watch.clone());
    let job = job_of(asking, attempt.order.len());
    let requests = requests_of(asking, attempt);
    let mut run = tokio::spawn({
        let watch = watch.clone();
        async move { blocking(move || run_load(&job, requests, &watch)).await }
    });
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            done = &mut run => {
                done.map_err(|error| {
                    Error::new(Kind::Internal, "the client's thread failed").cause(error.to_string())
                })??;
                return take_rest(attempt, &mut receiver);
            }
            Some(record) = receiver.recv() => attempt.take_record(record)?,
            _ = ticks.tick() => show_progress(&watch, attempt, planned, events),
        }
    }
}

fn take_rest(attempt: &mut Attempt<'_>, receiver: &mut UnboundedReceiver<Record>) -> Result<()> {
    while let Ok(record) = receiver.try_recv() {
        attempt.take_record(record)?;
    }
    Ok(())
}

fn job_of(asking: &Asking, requests: usize) -> Job {
    let most = u32::try_from(requests).unwrap_or(u32::MAX);
    Job {
        target: asking.target.clone(),
        settings: RequestSettings {
            api: asking.settings.api,
            model: asking.model.clone(),
            ignores_end: false,
            temperature: asking.settings.temperature,
            top_p: Some(asking.settings.top_p),
            stop: stops_of(&asking.settings),
            keeps: Kept::Text,
        },
        stage: Stage {
            load: Load::Concurrency(asking.parallel.min(most)),
            extent: Extent {
                // The end of the requests ends the run.
                requests: u32::MAX,
                least_s: 0,
                most_s: None,
                stall_s: asking.stall_s,
                warm_up: false,
                ramp_s: 0,
            },
        },
        limits: None,
        think_time: Duration::ZERO,
        seed: 0,
    }
}

fn requests_of(asking: &Asking, attempt: &Attempt<'_>) -> Box<dyn Iterator<Item = Drawn> + Send> {
    let (set, settings) = (attempt.set.clone(), asking.settings.clone());
    let order = attempt.order.to_vec();
    Box::new(order.into_iter().map(move |planned| Drawn {
        prompt: Prompt::Text(make_prompt(&settings, &set, &set.questions[planned.index])),
        // Only the server knows them.
        prompt_tokens: 0,
        output_tokens: settings.max_tokens,
        at: None,
        later: None,
    }))
}

fn show_progress(watch: &Watch, attempt: &Attempt<'_>, planned: usize, events: &StepEvents<'_>) {
    let answers = &attempt.asked.answers;
    let right = answers
        .iter()
        .filter(|answer| answer.is_right == Some(true))
        .count();
    let right = if attempt.settings.task.is_graded() {
        format!(", {right} right")
    } else {
        String::new()
    };
    let failed = watch.failed.load(Ordering::Relaxed);
    let failures = if failed > 0 {
        format!(", {failed} failed")
    } else {
        String::new()
    };
    let text = format!(
        "ask: {} answers{right}, {} in flight{failures}",
        answers.len(),
        watch.in_flight.load(Ordering::Relaxed),
    );
    events.activity(&text, Some((answers.len() as u64, planned as u64)));
}
