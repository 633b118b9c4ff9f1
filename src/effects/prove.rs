//! The installed engine's own word on the arguments of a plan, kept until something that decides it changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::effects::flag_tables::ResolveRequest;
use crate::effects::{Effects, files, store, weights};
use crate::error::{Error, Kind, Result};
use crate::event::StepEvents;
use crate::plan::{EngineSource, ProveArguments};
use crate::rehearsal;
use crate::report::{Difference, Proof};
use crate::sglang::resolve::{self, Answer, RESOLVER};
use crate::units::hex;

/// Longest list that is kept in a configuration: no argument depends on the names of modules, which are thousands in
/// quantized checkpoints, and an argument of a process has at most 128 KiB.
const LONGEST_LIST: usize = 64;

/// An answer of an engine, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    sglang: String,
    stood_in: Vec<String>,
    answer: Answer,
}

impl Effects {
    /// Asks the installed engine what it makes of the arguments, unless the answer to the same question is kept.
    ///
    /// # Errors
    /// [`Kind::Docker`] or [`Kind::Host`] when the engine cannot be run; [`Kind::Hub`] when the model's configuration is
    /// not here and cannot be read; [`Kind::Integrity`] for an answer that is none.
    pub async fn prove(&self, step: &ProveArguments, events: &StepEvents<'_>) -> Result<Proof> {
        let configuration = self.configuration(step).await?;
        let asked = ResolveRequest {
            gpu: step.gpu.clone(),
            files: configuration
                .into_iter()
                .map(|(name, text)| (name, without_long_lists(&text)))
                .collect(),
            lines: vec![step.words.clone()],
        };
        let path = self.kept_at(step, &asked).await?;
        let kept = path.as_deref().and_then(files::read_kept);
        let cached = kept.is_some();
        let kept = match kept {
            Some(kept) => kept,
            None => self.ask_engine(step, &asked, events).await?,
        };
        if let Some(path) = path.filter(|_| !cached && !matches!(kept.answer, Answer::Failed(_))) {
            files::keep(&path, &kept);
        }
        Ok(Proof {
            source: step.source.name().to_owned(),
            stood_in: kept.stood_in,
            cached,
            ..resolve::proof(kept.answer, &kept.sglang, step.planned.as_deref())
        })
    }

    /// Asks as [`Effects::prove`] does, before a start: a refusal is an error. What differs from the plan is a warning, and so
    /// is an engine that could not be asked.
    pub(super) async fn prove_plan(&self, step: &ProveArguments, events: &StepEvents<'_>) -> Result<Proof> {
        let proof = match self.prove(step, events).await {
            Ok(proof) => proof,
            Err(error) if error.kind() == Kind::Interrupted => return Err(error),
            Err(error) => Proof {
                sglang: step.sglang.clone(),
                source: step.source.name().to_owned(),
                failed: Some(error.message()),
                ..Proof::default()
            },
        };
        if let Some(why) = proof.refused {
            return Err(Error::new(
                Kind::Usage,
                format!("SGLang {} refuses the arguments", proof.sglang),
            )
            .cause(why)
            .hint("change the setting that it names; dsr1 plan --origin says where each one comes from"));
        }
        if let Some(why) = &proof.failed {
            events.warning(
                format!("SGLang could not be asked about the arguments: {why}"),
                "the start goes on; the engine checks them itself before it loads the weights",
            );
        }
        for one in &proof.differences {
            let Difference {
                field,
                planned,
                engine,
            } = one;
            events.warning(
                format!(
                    "{field}: the plan has {planned}, SGLang {} makes it {engine}",
                    proof.sglang
                ),
                "the memory plan was made for the planned value; please report the difference",
            );
        }
        Ok(proof)
    }

    async fn ask_engine(
        &self,
        step: &ProveArguments,
        asked: &ResolveRequest,
        events: &StepEvents<'_>,
    ) -> Result<Kept> {
        events.activity("import SGLang", None);
        let mut found = self.resolve_command_lines(&step.source, asked).await?;
        let answer = found.answers.pop();
        Ok(Kept {
            sglang: found.sglang,
            stood_in: found.stood_in,
            answer: answer.unwrap_or_else(|| Answer::Failed("no answer".to_owned())),
        })
    }

    /// Returns the file of the answer; its name is the digest of all that decides it. `None` if the image has no id: then
    /// nothing is kept.
    async fn kept_at(&self, step: &ProveArguments, asked: &ResolveRequest) -> Result<Option<PathBuf>> {
        let program = match &step.source {
            EngineSource::Image { image, .. } => {
                let found = self.docker().await?.image_id(image).await?;
                let Some(id) = found else { return Ok(None) };
                id
            }
            EngineSource::Venv { python, variables } => {
                // The packages of an environment of the user may change, and its path does not.
                let packages = &step.environment;
                serde_json::json!([python, variables, packages]).to_string()
            }
        };
        let question = serde_json::json!([program, RESOLVER, asked]).to_string();
        let name = hex(&Sha256::digest(question.as_bytes()));
        Ok(Some(Path::new(&step.cache_dir).join(format!("{name}.json"))))
    }

    /// Returns the files of the model that decide arguments, from the pulled snapshot or from the hub.
    async fn configuration(&self, step: &ProveArguments) -> Result<BTreeMap<String, String>> {
        if let Some(folder) = &step.folder {
            return store::configuration_in(Path::new(folder)).ok_or_else(|| {
                Error::new(
                    Kind::Integrity,
                    format!("`{folder}` has no config.json that can be read"),
                )
            });
        }
        let cache = Path::new(&step.hub_cache);
        if let Some(commit) = store::cached_commit(cache, &step.repo, &step.revision)
            && let Some(files) = store::configuration(cache, &step.repo, &commit)
        {
            return Ok(files);
        }
        if step.repo == rehearsal::REPO {
            let config = rehearsal::files()
                .into_iter()
                .find(|file| file.path == "config.json");
            let text = config.and_then(|file| String::from_utf8(file.bytes).ok());
            return Ok(text
                .map(|text| ("config.json".to_owned(), text))
                .into_iter()
                .collect());
        }
        let missing = |cause: &str| {
            Error::new(
                Kind::Hub,
                format!("the configuration of {} is not here", step.repo),
            )
            .cause(cause)
            .hint(format!("dsr1 pull {}", step.repo))
        };
        if self.env().hub.offline {
            return Err(missing("HF_HUB_OFFLINE forbids to ask the hub"));
        }
        let Some(endpoint) = &step.endpoint else {
            return Err(missing("the snapshot has no config.json"));
        };
        weights::configuration(endpoint, &step.repo, &step.revision, self.hub_options()).await
    }
}

/// Returns a configuration without its long lists.
fn without_long_lists(text: &str) -> String {
    fn cut(value: &mut Value) {
        match value {
            Value::Array(items) => {
                items.truncate(LONGEST_LIST);
                items.iter_mut().for_each(cut);
            }
            Value::Object(map) => map.values_mut().for_each(cut),
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::from_str::<Value>(text) else {
        return text.to_owned();
    };
    cut(&mut value);
    value.to_string()
}
