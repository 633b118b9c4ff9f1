//! The session of a build: the data that dsr1 sends to the daemon, and the data that the daemon keeps.

use std::path::Path;

use dsr1::plan::{BuildSecret, SecretSource};

use super::*;

/// Returns a build with the named secrets.
fn with_secrets(name: &Name, run: &str, secrets: Vec<BuildSecret>) -> BuildImage {
    let mounts: Vec<String> = secrets
        .iter()
        .map(|secret| format!("--mount=type=secret,id={},required=true ", secret.id))
        .collect();
    let mounts = mounts.concat();
    BuildImage {
        secrets,
        ..image(name, &format!("{mounts}{run}"))
    }
}

fn file_secret(id: &str, path: &Path) -> BuildSecret {
    BuildSecret {
        id: id.to_owned(),
        source: SecretSource::File(path.to_str().unwrap().to_owned()),
    }
}

pub(super) async fn build(step: &BuildImage) -> (dsr1::error::Result<dsr1::report::Built>, Vec<String>) {
    let recorder = Recorder::default();
    let built = docker().await.build(step, &StepEvents::new(&recorder, 1)).await;
    (built, build_lines(&recorder))
}

/// Promise 3: no image, log or label keeps a secret.
#[tokio::test]
async fn a_secret_is_read_by_its_step_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let planted = format!("planted-{}-{}", std::process::id(), support::unique());
    std::fs::write(dir.path().join("token"), &planted).unwrap();
    let name = Name::new("secret");
    let run = format!(
        "test \"$(wc -c < /run/secrets/token)\" -eq {} && : {}",
        planted.len(),
        name.0
    );
    let step = with_secrets(&name, &run, vec![file_secret("token", &dir.path().join("token"))]);
    let (built, lines) = build(&step).await;
    built.unwrap();
    assert!(!lines.join("\n").contains(&planted));
    assert!(!cli(&["history", "--no-trunc", &step.tag]).contains(&planted));
    assert!(!cli(&["image", "inspect", &step.tag]).contains(&planted));
    let saved = dir.path().join("image.tar");
    cli(&["save", "--output", saved.to_str().unwrap(), &step.tag]);
    let bytes = std::fs::read(&saved).unwrap();
    // The check itself works: it finds the label.
    assert!(
        bytes
            .windows(LABEL_INPUTS.len())
            .any(|window| window == LABEL_INPUTS.as_bytes())
    );
    assert!(
        !bytes
            .windows(planted.len())
            .any(|window| window == planted.as_bytes())
    );
    remove_image(&step);
}

#[tokio::test]
async fn a_secret_that_is_missing_is_known_before_the_build() {
    let name = Name::new("missing");
    let nowhere = with_secrets(
        &name,
        "true",
        vec![file_secret("token", Path::new("/nonexistent"))],
    );
    let (built, lines) = build(&nowhere).await;
    assert_eq!(
        built.unwrap_err().message(),
        "cannot read `/nonexistent` for the build's secret `token`"
    );
    assert!(lines.is_empty());
    let source = SecretSource::Env("DSR1_TEST_UNSET".to_owned());
    let unset = with_secrets(
        &name,
        "true",
        vec![BuildSecret {
            id: "token".to_owned(),
            source,
        }],
    );
    let error = build(&unset).await.0.unwrap_err();
    assert_eq!(
        (error.kind(), error.causes()),
        (Kind::Usage, vec!["$DSR1_TEST_UNSET is not set".to_owned()])
    );
    let big = tempfile::NamedTempFile::new().unwrap();
    big.as_file().set_len(1 << 20).unwrap();
    let error = build(&with_secrets(
        &name,
        "true",
        vec![file_secret("token", big.path())],
    ))
    .await
    .0
    .unwrap_err();
    assert!(
        error.message().ends_with("is too large for a secret"),
        "{error:?}"
    );
    // A required secret that is not given: the daemon reports it, and no image is left.
    let mut asked = image(&name, "true");
    asked.dockerfile = asked
        .dockerfile
        .replace("--mount", "--mount=type=secret,id=token,required=true --mount");
    let error = build(&asked).await.0.unwrap_err();
    assert!(
        error.causes().join(" ").contains("secret token not found"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_change_of_the_same_length_is_built() {
    let name = Name::new("same");
    let one = image(&name, &format!("echo one {}", name.0));
    let other = image(&name, &format!("echo two {}", name.0));
    assert_eq!(one.dockerfile.len(), other.dockerfile.len());
    let first = build(&one).await.0.unwrap();
    let second = build(&other).await.0.unwrap();
    assert!(!second.cached);
    assert_ne!(first.image_id, second.image_id);
    let mut changed = image(&name, &format!("cat /run/dsr1/site/a.txt; : {}", name.0));
    assert!(
        build(&changed)
            .await
            .1
            .iter()
            .any(|line| line == "from the context")
    );
    changed
        .files
        .insert("site/a.txt".to_owned(), "FROM THE CONTEXT\n".to_owned());
    changed.inputs.push('2');
    assert!(
        build(&changed)
            .await
            .1
            .iter()
            .any(|line| line == "FROM THE CONTEXT")
    );
    remove_image(&changed);
}

#[tokio::test]
async fn wheels_are_sent_as_they_are_and_not_again() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..3_000_001_u32)
        .map(|i| u8::try_from(i.wrapping_mul(2_654_435_761) >> 24).unwrap())
        .collect();
    std::fs::write(dir.path().join("a-1.whl"), &bytes).unwrap();
    std::fs::write(dir.path().join("empty.whl"), "").unwrap();
    let name = Name::new("wheels");
    let sum = dsr1::units::hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
    let run = format!(
        "sh -c 'cd /run/dsr1/wheels && echo \"{sum}  a-1.whl\" | sha256sum -c && ls; : {}'",
        name.0
    );
    let wheels = Some(dir.path().to_str().unwrap().to_owned());
    let mut step = BuildImage {
        wheels,
        ..image(&name, &run)
    };
    let (built, lines) = build(&step).await;
    built.unwrap();
    assert!(lines.iter().any(|line| line == "a-1.whl: OK"), "{lines:?}");
    assert!(lines.iter().any(|line| line == "empty.whl"), "{lines:?}");
    // Another build of the same context: the step comes from the cache.
    step.inputs.push('2');
    let (built, lines) = build(&step).await;
    assert!(!built.unwrap().cached);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("cached ") && line.contains("sha256sum")),
        "{lines:?}"
    );
    step.wheels = Some("/nonexistent".to_owned());
    step.inputs.push('3');
    let error = build(&step).await.0.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (Kind::Host, "cannot read the wheels in `/nonexistent`".to_owned())
    );
    remove_image(&step);
}

#[tokio::test]
async fn an_image_gets_all_its_tags_and_arguments() {
    let name = Name::new("tags");
    let mut step = image(&name, &format!("sh -c 'echo argument=$WORD; : {}'", name.0));
    step.dockerfile = step.dockerfile.replacen('\n', "\nARG WORD\n", 1);
    step.also = vec![format!("dsr1/other:{}", name.0)];
    step.args = BTreeMap::from([("WORD".to_owned(), "a b&c=d%é".to_owned())]);
    let (built, lines) = build(&step).await;
    let id = built.unwrap().image_id;
    assert!(lines.iter().any(|line| line == "argument=a b&c=d%é"), "{lines:?}");
    for tag in [&step.tag, &step.also[0]] {
        assert_eq!(cli(&["image", "inspect", "--format", "{{.Id}}", tag]).trim(), id);
    }
    // The image is present, and gets the new tag.
    cli(&["image", "rm", &step.also[0]]);
    assert!(build(&step).await.0.unwrap().cached);
    assert_eq!(
        cli(&["image", "inspect", "--format", "{{.Id}}", &step.also[0]]).trim(),
        id
    );
    // With `no_cache` it builds again: the output of the step is present.
    step.no_cache = true;
    let (built, lines) = build(&step).await;
    assert!(!built.unwrap().cached);
    assert!(lines.iter().any(|line| line == "argument=a b&c=d%é"), "{lines:?}");
    cli(&["image", "rm", &step.also[0]]);
    remove_image(&step);
}

#[tokio::test]
async fn the_message_of_a_daemon_that_refuses_a_dockerfile_is_shown() {
    let name = Name::new("refused");
    let mut step = image(&name, "true");
    step.dockerfile = format!("FROM {BASE}\nNONSENSE here\n");
    let error = build(&step).await.0.unwrap_err();
    assert_eq!(error.kind(), Kind::Docker);
    assert!(
        error
            .causes()
            .join(" ")
            .to_lowercase()
            .contains("unknown instruction: nonsense"),
        "{error:?}"
    );
}

#[tokio::test]
async fn sessions_of_a_daemon_can_be_requested_repeatedly() {
    docker().await;
    for _ in 0..3 {
        let facts = dsr1::effects::docker::Docker::facts(&dsr1::effects::env::Env::read(), &[], &[]).await;
        assert_eq!(facts.sessions, Some(true));
        assert_eq!(facts.platform, dsr1::effects::host::platform());
    }
}
