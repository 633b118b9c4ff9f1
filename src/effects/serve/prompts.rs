//! The prompts of a measurement: as ids, or as text by the tokenizer of the server's model.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::effects::blocking::blocking;
use crate::effects::data::{Index, Items, Rows, TextCounter};
use crate::effects::files;
use crate::effects::http::Http;
use crate::effects::serve::runtime::Runtime;
use crate::effects::tokenizer::Tokenizer;
use crate::error::{At, Error, Kind, Result};
use crate::measure::{
    Api, Drawn, Lengths, Prompt, PromptFile, PromptForm, RandomPrompts, RequestSettings, Tally, TextPrompts,
    TextTokens, Turns, exact_text, shorten_first,
};
use crate::plan::MeasureLoad;
use crate::report::MeasuredFile;
use crate::secret::Secret;
use crate::sglang::api::unexpected;

/// Size of the vocabulary of DeepSeek-V3 and R1 (`config.json`, `vocab_size`).
const DEEPSEEK_VOCABULARY: u32 = 129_280;
/// Largest tokenizer: that of DeepSeek-R1 has 8 MB, that of Gemma 3 33 MB.
const LARGEST: u64 = 64 << 20;
/// Longest wait for the answers to the texts that tell the server's count.
const ANSWER: Duration = Duration::from_mins(2);
/// Tokens of these texts.
const SHORT: usize = 8;
const LONG: usize = 72;

/// The prompts of a measurement.
pub(super) struct Prompts {
    /// Size of the vocabulary from which ids are drawn; `None` for texts, and for prompts of a data file.
    pub(super) vocabulary: Option<u32>,
    kind: PromptKind,
    /// The tokenizer of texts.
    counter: Option<TextCounter>,
    /// The records of the run's file.
    tally: Arc<Mutex<Tally>>,
    /// Reasons for which requests of the file are not compared with the server's context.
    unchecked: Option<String>,
}

/// The kind of prompts.
enum PromptKind {
    /// Random ones, from a vocabulary or of words of a tokenizer.
    Random(u32),
    /// Those of a data file.
    Data(Arc<Items>),
    /// Those of a trace.
    Trace(Arc<Rows>),
}

/// Requests in their order.
pub(super) type Requests = Box<dyn Iterator<Item = Drawn> + Send>;

/// The server that is asked for its count of tokens.
pub(super) struct Asked<'a> {
    pub(super) http: &'a Http,
    pub(super) settings: &'a RequestSettings,
    pub(super) key: Option<&'a Secret>,
}

/// Finds what prompts are made of, and how many tokens the server adds to each text.
///
/// # Errors
/// [`Kind::Usage`] when the vocabulary or the tokenizer is not known, the tokenizer is not that of the server, or a file has no
/// prompts.
pub(super) async fn find_prompts(
    step: &MeasureLoad,
    runtime: Option<&Runtime<'_>>,
    asked: &Asked<'_>,
) -> Result<Prompts> {
    let index = match &step.source.file {
        Some(file) => Some(read_index(file.path()).await?),
        None => None,
    };
    // The file is looked at before the server is.
    let format = match (&step.source.file, &index) {
        (Some(PromptFile::Trace { path }), Some(index)) => Some(Rows::find_format(index, path)?),
        (Some(PromptFile::Data { path, .. }), Some(index)) => {
            Items::check(index, step.api, path)?;
            None
        }
        _ => None,
    };
    let mut unchecked = Vec::new();
    let counter = find_counter(step, runtime, asked, &mut unchecked).await?;
    let context = match &index {
        Some(_) => find_context(step, asked).await,
        None => Ok(0),
    };
    let context = context
        .map_err(|error| unchecked.push(format!("the server's context is not known: {}", in_words(&error))))
        .ok();
    let unchecked = (!unchecked.is_empty()).then(|| unchecked.join("; "));
    if let (Some(PromptFile::Data { .. }), Some(index)) = (&step.source.file, &index) {
        let items = Items {
            index: index.clone(),
            api: step.api,
            turns: step.lengths.turns.count,
            output: step.lengths.output,
            context,
            counter: counter.clone(),
        };
        return Ok(Prompts {
            vocabulary: None,
            kind: PromptKind::Data(Arc::new(items)),
            counter,
            tally: Arc::default(),
            unchecked,
        });
    }
    let vocabulary = match &counter {
        Some(_) => None,
        None => Some(find_vocabulary(step, runtime, &asked.settings.model).await?),
    };
    let words = counter
        .as_ref()
        .map_or(0, |counter| counter.tokenizer.words().len());
    let ids = vocabulary.unwrap_or(u32::try_from(words).unwrap_or(u32::MAX));
    let kind = match (format, index) {
        (Some(format), Some(index)) => PromptKind::Trace(Arc::new(Rows {
            format,
            index,
            speed: step.load.speed().unwrap_or(1.0),
            vocabulary: ids,
            context,
        })),
        _ => PromptKind::Random(ids),
    };
    Ok(Prompts {
        vocabulary,
        kind,
        counter,
        tally: Arc::default(),
        unchecked,
    })
}

impl Prompts {
    /// Returns the requests of the run, of a seed. The first `slots` ones are those of a warm-up.
    pub(super) fn requests(&self, step: &MeasureLoad, seed: u64, slots: u32) -> Requests {
        let repeats = matches!(step.source.file, Some(PromptFile::Data { repeats: true, .. }));
        self.make(step.lengths, (seed, slots), repeats, self.tally.clone())
    }

    /// Returns requests to try the client with, which have nothing to do with each other. They take nothing from the run.
    pub(super) fn trial(&self, step: &MeasureLoad, seed: u64, slots: u32) -> Requests {
        let lengths = Lengths {
            turns: Turns::SINGLE,
            ..step.lengths
        };
        self.make(lengths, (seed, slots), true, Arc::default())
    }

    fn make(
        &self,
        lengths: Lengths,
        (seed, slots): (u64, u32),
        repeats: bool,
        tally: Arc<Mutex<Tally>>,
    ) -> Requests {
        let requests: Requests = match &self.kind {
            PromptKind::Random(ids) => Box::new(RandomPrompts::new(lengths, *ids, seed, slots)),
            PromptKind::Data(items) => {
                let items = items.clone().requests(seed, repeats, tally);
                return Box::new(shorten_first(items, lengths.turns, slots));
            }
            PromptKind::Trace(rows) => Box::new(rows.clone().requests(seed, repeats, tally)),
        };
        match &self.counter {
            None => requests,
            Some(TextCounter { tokenizer, overhead }) => {
                Box::new(TextPrompts::new(requests, tokenizer.clone(), *overhead, seed))
            }
        }
    }

    /// Returns the most requests that there are.
    pub(super) fn most(&self) -> u32 {
        match &self.kind {
            PromptKind::Random(_) | PromptKind::Data(_) => u32::MAX,
            PromptKind::Trace(rows) => u32::try_from(rows.index.count()).unwrap_or(u32::MAX),
        }
    }

    /// Returns the source of the prompts in a word.
    pub(super) fn source(&self) -> &'static str {
        match &self.kind {
            PromptKind::Random(_) => "random",
            PromptKind::Data(items) if items.index.is_array => "array",
            PromptKind::Data(_) => "jsonl",
            PromptKind::Trace(rows) => rows.format.name(),
        }
    }

    /// Returns the file of the prompts, with what was read of it.
    pub(super) fn file(&self, step: &MeasureLoad) -> Option<MeasuredFile> {
        let (index, header) = match &self.kind {
            PromptKind::Random(_) => return None,
            PromptKind::Data(items) => (&items.index, 0),
            PromptKind::Trace(rows) => (&rows.index, usize::from(rows.format.has_header())),
        };
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let file = step.source.file.as_ref()?;
        Some(MeasuredFile {
            path: file.path().to_owned(),
            sha256: index.sha256.clone(),
            bytes: index.bytes,
            records: index.count().saturating_sub(header) as u64,
            repeats: matches!(file, PromptFile::Data { repeats: true, .. }),
            used: tally.used,
            broken: tally.broken,
            too_long: tally.too_long,
            examples: tally.examples,
            has_ended: tally.has_ended,
            unchecked: self.unchecked.clone(),
        })
    }
}

/// Returns the tokens of the server's context.
async fn find_context(step: &MeasureLoad, asked: &Asked<'_>) -> Result<u64> {
    let url = format!("{}/v1/models", step.base_url);
    let (status, body) = asked.http.get_json_with(&url, asked.key, ANSWER).await?;
    if status != 200 {
        return Err(unexpected("the list of models", status, &body));
    }
    context_of(&body, &asked.settings.model).ok_or_else(|| {
        Error::new(Kind::Server, "the list of models has no `max_model_len`")
            .cause(format!("for the model `{}`", asked.settings.model))
    })
}

/// Returns the tokens of a model's context in `/v1/models` (`ModelCard` of `SGLang` 0.5). An adapter has none of its own there, so
/// that of the first model counts, on which it stands.
fn context_of(models: &Value, model: &str) -> Option<u64> {
    let models = models["data"].as_array()?;
    let named = models.iter().find(|card| card["id"] == model);
    let context = |card: &Value| card["max_model_len"].as_u64();
    named
        .and_then(context)
        .or_else(|| models.first().and_then(context))
}

/// Returns an error and its causes in one line.
fn in_words(error: &Error) -> String {
    let mut words = error.to_string();
    for cause in error.causes() {
        words.push_str(": ");
        words.push_str(&cause);
    }
    words
}

/// Reads a file of prompts once: for its hash, and for the places of its records.
async fn read_index(path: &str) -> Result<Index> {
    let path = std::path::PathBuf::from(path);
    blocking(move || Index::read(&path)).await
}

/// Returns the tokenizer of texts, with the tokens that the server adds to each. Prompts of a data file are counted by it if it
/// is there, and by the server alone if it is not; the reason is added to `unchecked`.
async fn find_counter(
    step: &MeasureLoad,
    runtime: Option<&Runtime<'_>>,
    asked: &Asked<'_>,
    unchecked: &mut Vec<String>,
) -> Result<Option<TextCounter>> {
    let is_data = matches!(step.source.file, Some(PromptFile::Data { .. }));
    if step.source.form == PromptForm::Ids && !is_data {
        return Ok(None);
    }
    let tokenizer = match find_tokenizer(step, runtime).await {
        Ok(tokenizer) => tokenizer,
        Err(error) if is_data && step.source.tokenizer.is_none() => {
            unchecked.push(format!("texts are not counted: {}", in_words(&error)));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let overhead = find_overhead(step, &tokenizer, asked).await?;
    let least = f64::from(step.lengths.input) * step.lengths.ratio + f64::from(step.lengths.shared_prefix);
    if step.source.file.is_none() && least <= f64::from(overhead) {
        return Err(Error::new(Kind::Usage, "the prompts are too short for this API")
            .cause(format!("the server adds {overhead} tokens to each text"))
            .hint("pass a larger --input-len, or a larger --range-ratio"));
    }
    Ok(Some(TextCounter {
        tokenizer: Arc::new(tokenizer),
        overhead,
    }))
}

/// Returns the tokenizer that the user names, or that of the server's model.
async fn find_tokenizer(step: &MeasureLoad, runtime: Option<&Runtime<'_>>) -> Result<Tokenizer> {
    if let Some(path) = &step.source.tokenizer {
        let mut path = Path::new(path).to_owned();
        if path.is_dir() {
            path.push("tokenizer.json");
        }
        let name = format!("`{}`", path.display());
        let bytes = files::read_through(&path, LARGEST).at(Kind::Usage, || format!("cannot read {name}"))?;
        return Tokenizer::read(&bytes, &name);
    }
    let (Some(runtime), Some(folder)) = (runtime, &step.model_path) else {
        return Err(no_tokenizer("the server is known by its URL only"));
    };
    let path = format!("{folder}/tokenizer.json");
    match runtime.read_linked(&path).await {
        Ok(bytes) => Tokenizer::read(&bytes, &format!("`{path}` of {}", runtime.name())),
        Err(error) => Err(no_tokenizer(&error.to_string())),
    }
}

fn no_tokenizer(cause: &str) -> Error {
    Error::new(Kind::Usage, "cannot make prompts of text without a tokenizer")
        .cause(cause)
        .hint("pass --tokenizer PATH: the tokenizer.json of the model, or its folder")
        .hint("or send ids of tokens: --api completions --prompts ids")
}

/// Returns the tokens that the server counts for a text beyond those of the tokenizer: a template, and a token at the start.
///
/// Two texts of different lengths tell whether the tokenizer is that of the server: both must have the same.
async fn find_overhead(step: &MeasureLoad, tokenizer: &Tokenizer, asked: &Asked<'_>) -> Result<u32> {
    let mut found = Vec::new();
    for length in [SHORT, LONG] {
        let words = tokenizer.words();
        // Words from all over the vocabulary: another tokenizer has others.
        let ids: Vec<u32> = words
            .iter()
            .step_by((words.len() / length).max(1))
            .take(length)
            .copied()
            .collect();
        let (text, own) = exact_text(tokenizer, ids, &mut || 0);
        let counted = count_at_server(step, &Prompt::Text(text), asked).await?;
        found.push((own as u64, counted));
    }
    let overheads: Vec<Option<u64>> = found
        .iter()
        .map(|(own, counted)| counted.checked_sub(*own))
        .collect();
    match overheads[..] {
        [Some(short), Some(long)] if short == long => Ok(u32::try_from(short).unwrap_or(u32::MAX)),
        _ => {
            let counts = found
                .iter()
                .map(|(own, counted)| format!("{counted} tokens where the tokenizer has {own}"));
            let counts: Vec<String> = counts.collect();
            Err(Error::new(Kind::Usage, "the tokenizer is not that of the server")
                .cause(format!("the server counts {}", counts.join(", and ")))
                .hint("pass --tokenizer PATH: the tokenizer.json of the model that the server has"))
        }
    }
}

/// Returns the number of tokens that the server counts for a prompt. It generates one token for that.
async fn count_at_server(step: &MeasureLoad, prompt: &Prompt, asked: &Asked<'_>) -> Result<u64> {
    let mut body: Value = serde_json::from_slice(&asked.settings.body(prompt, 1))
        .at(Kind::Internal, || "a request is not JSON".to_owned())?;
    body["stream"] = json!(false);
    if let Some(fields) = body.as_object_mut() {
        fields.remove("stream_options");
    }
    let url = format!("{}{}", step.base_url, step.api.path());
    let (status, answer) = asked.http.post_json_with(&url, asked.key, &body, ANSWER).await?;
    let counted = match step.api {
        Api::Generate => &answer["meta_info"]["prompt_tokens"],
        Api::Completions | Api::Chat => &answer["usage"]["prompt_tokens"],
    };
    let counted = counted.as_u64().filter(|_| status == 200);
    counted.ok_or_else(|| unexpected("the count of a prompt's tokens", status, &answer))
}

/// Returns the size of the model's vocabulary: the user's word, that of the model's files, or that of DeepSeek-R1.
async fn find_vocabulary(step: &MeasureLoad, runtime: Option<&Runtime<'_>>, model: &str) -> Result<u32> {
    if let Some(size) = step.vocabulary {
        return Ok(size);
    }
    if let (Some(runtime), Some(folder)) = (runtime, &step.model_path)
        && let Ok(text) = runtime.read_linked(&format!("{folder}/config.json")).await
        && let Some(size) = vocabulary_of(&text)
    {
        return Ok(size);
    }
    if model.to_ascii_lowercase().contains("deepseek") {
        return Ok(DEEPSEEK_VOCABULARY);
    }
    Err(Error::new(
        Kind::Usage,
        format!("the size of the vocabulary of `{model}` is not known"),
    )
    .cause("prompts are made of random token ids, and an id beyond it fails")
    .hint("pass --vocabulary N: `vocab_size` in the model's config.json"))
}

fn vocabulary_of(config: &[u8]) -> Option<u32> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    let size = config["vocab_size"]
        .as_u64()
        .or_else(|| config["text_config"]["vocab_size"].as_u64())?;
    u32::try_from(size).ok().filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_that_of_the_named_model() {
        let models = json!({"data": [
            {"id": "a", "max_model_len": 4096}, {"id": "b", "max_model_len": 8192}, {"id": "adapter"},
        ]});
        for (model, context) in [("a", 4096), ("b", 8192), ("adapter", 4096), ("c", 4096)] {
            assert_eq!(context_of(&models, model), Some(context), "{model}");
        }
        for other in [json!({}), json!({"data": []}), json!({"data": [{"id": "a"}]})] {
            assert_eq!(context_of(&other, "a"), None);
        }
    }

    #[test]
    fn the_vocabulary_is_read_or_unknown() {
        assert_eq!(vocabulary_of(br#"{"vocab_size": 129280}"#), Some(129_280));
        assert_eq!(vocabulary_of(br#"{"text_config": {"vocab_size": 7}}"#), Some(7));
        for text in [
            &b"{}"[..],
            b"[",
            br#"{"vocab_size": -1}"#,
            br#"{"vocab_size": 0}"#,
        ] {
            assert_eq!(vocabulary_of(text), None);
        }
    }
}
