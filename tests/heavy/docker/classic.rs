//! Builds with the classic builder: one archive, stages instead of mounts.

use std::collections::BTreeMap;

use dsr1::error::Kind;
use dsr1::plan::{BuildImage, BuildSecret, Builder, LABEL_INPUTS, LABEL_ROLE, SecretSource};

use super::session::build;
use super::{BASE, Name, cli, image, support};

/// Returns a build whose first stage reads the whole context, and whose last stage keeps one file of it.
pub(super) fn classic(name: &Name, run: &str) -> BuildImage {
    BuildImage {
        builder: Builder::Classic,
        dockerfile: format!(
            "FROM {BASE} AS install\nLABEL {LABEL_ROLE}=stage test={}\nCOPY . /run/dsr1/\nRUN {run} && echo made > /made\n\
             FROM {BASE}\nCOPY --from=install /made /made\nLABEL {LABEL_INPUTS}=\"inputs of {}\"\n",
            name.0, name.0
        ),
        inputs: format!("inputs of {}", name.0),
        ..image(name, "true")
    }
}

#[tokio::test]
async fn the_classic_builder_gets_files_wheels_and_the_ca_bundle_and_keeps_none() {
    let dir = tempfile::tempdir().unwrap();
    let planted = format!("planted-{}-{}", std::process::id(), support::unique());
    std::fs::write(dir.path().join("ca.pem"), &planted).unwrap();
    let wheels = dir.path().join("wheels");
    std::fs::create_dir(&wheels).unwrap();
    std::fs::write(wheels.join("a-1.whl"), vec![7; 1_000_001]).unwrap();
    let name = Name::new("classic");
    let mut step = classic(
        &name,
        "test \"$(cat /run/dsr1/site/a.txt)\" = \"from the context\" && test $(wc -c < /run/dsr1/wheels/a-1.whl) -eq 1000001 \
         && test -s /run/dsr1/ca/ca && echo read it all",
    );
    step.wheels = Some(wheels.to_str().unwrap().to_owned());
    step.secrets = vec![BuildSecret {
        id: "ca".to_owned(),
        source: SecretSource::File(dir.path().join("ca.pem").to_str().unwrap().to_owned()),
    }];
    let _images = support::lock::daemon();
    let (built, lines) = build(&step).await;
    let built = built.unwrap();
    assert!(lines.iter().any(|line| line == "read it all"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("Step 1/")), "{lines:?}");
    assert!(!lines.join("\n").contains(&planted));
    assert!(!cli(&["history", "--no-trunc", &step.tag]).contains(&planted));
    let saved = dir.path().join("image.tar");
    cli(&["save", "--output", saved.to_str().unwrap(), &step.tag]);
    let bytes = std::fs::read(&saved).unwrap();
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has(&step.inputs) && !has(&planted));
    // The stage that held them is removed too.
    let stages = cli(&[
        "image",
        "ls",
        "--quiet",
        "--filter",
        &format!("label=test={}", name.0),
    ]);
    assert_eq!(stages, "");
    // The second build does nothing.
    let (again, lines) = build(&step).await;
    assert!(again.unwrap().cached && lines.is_empty());
    assert!(!built.cached);
    cli(&["image", "rm", &step.tag]);
}

#[tokio::test]
async fn a_step_of_the_classic_builder_that_fails_shows_its_log() {
    let name = Name::new("classicfail");
    let _images = support::lock::daemon();
    let step = classic(&name, "echo before && sh -c 'echo the reason >&2; exit 3'");
    let error = build(&step).await.0.unwrap_err();
    assert_eq!(error.kind(), Kind::Docker);
    assert!(
        error.log_lines().iter().any(|line| line.contains("the reason")),
        "{error:?}"
    );
    assert!(
        error.causes().join(" ").contains("returned a non-zero code: 3"),
        "{error:?}"
    );
    assert_eq!(cli(&["image", "ls", "--quiet", &step.tag]), "");
}

#[tokio::test]
async fn wheels_that_disappear_end_a_classic_build_with_the_reason() {
    let name = Name::new("classicgone");
    let _images = support::lock::daemon();
    let mut step = classic(&name, "true");
    step.wheels = Some("/nonexistent".to_owned());
    let error = build(&step).await.0.unwrap_err();
    assert!(format!("{error:?}").contains("/nonexistent"), "{error:?}");
    step.wheels = None;
    step.files = BTreeMap::new();
    build(&step).await.0.unwrap();
    cli(&["image", "rm", &step.tag]);
}
