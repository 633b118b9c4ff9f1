//! Tests of the rendered Dockerfiles. Tests with a real daemon build them.

use crate::plan::dockerfile::*;
use crate::profile::Catalog;

fn stack(name: &str) -> Stack {
    Catalog::load(None).unwrap().stack(name).unwrap().clone()
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("io.dsr1.role".to_owned(), "image \"$HOME\" \\".to_owned())])
}

fn plain(stack: &Stack, base: &str, labels: &BTreeMap<String, String>) -> Result<Rendered> {
    render(
        stack,
        base,
        &ImageChoice::default(),
        &BuildMethod::default(),
        labels,
    )
}

#[test]
fn the_guides_stack() {
    let stack = stack("guide");
    insta::assert_snapshot!(
        plain(&stack, &stack.base_reference(None), &labels())
            .unwrap()
            .dockerfile
    );
}

fn guide(flashinfer: Flashinfer) -> String {
    let stack = stack("guide");
    let choice = ImageChoice {
        recipe: Recipe::Guide,
        flashinfer: Some(flashinfer),
        ..ImageChoice::default()
    };
    let method = BuildMethod {
        secrets: vec![SECRET_CA, "netrc"],
        ..BuildMethod::default()
    };
    let base = stack.base_reference(None);
    render(&stack, &base, &choice, &method, &labels())
        .unwrap()
        .dockerfile
}

/// The steps of the guide's Dockerfile ("Building Docker Image"), each with a text that shows it in the rendering.
const GUIDES_STEPS: [(&str, &str); 10] = [
    (
        "FROM ...@sha256",
        "@sha256:1a9e19b409059075d47ca58159b370adc6d76b7eb3a85680c55f65c38b11e9db",
    ),
    ("WORKDIR /workspace", "WORKDIR /workspace"),
    (
        "apt-get install git ...",
        "git python3-dev build-essential ninja-build",
    ),
    ("pip install --upgrade pip", "pip/tools"),
    (
        "pip install lm-eval @ 4f8195f",
        "4f8195f18fbc1b6d212314509d7525e1178e036c",
    ),
    (
        "git clone flashinfer -b v0.2.9rc2",
        "cf393664045f5517f5d7d549ff9d01b34fb8fe43",
    ),
    ("pip install sglang from its source", "source=pip/sglang"),
    ("pip install flashinfer from its source", "source=/src/flashinfer"),
    ("pip install nvidia-cudnn-cu12", "source=pip/cudnn"),
    ("pip install httpx openai", "source=pip/clients"),
];

#[test]
fn the_guides_recipe_has_every_step_of_the_guide_in_its_order() {
    let text = guide(Flashinfer::Aot);
    let mut rest = text.as_str();
    for (step, sign) in GUIDES_STEPS {
        let at = rest
            .find(sign)
            .unwrap_or_else(|| panic!("{step} is missing, or too early:\n{text}"));
        rest = &rest[at + sign.len()..];
    }
    insta::assert_snapshot!(text);
}

#[test]
fn kernels_are_compiled_when_they_are_asked_for_and_for_the_stacks_gpus() {
    let aot = guide(Flashinfer::Aot);
    let (before, after) = aot.split_once("-m flashinfer.aot").unwrap();
    assert!(before.contains("export TORCH_CUDA_ARCH_LIST=\"10.0a\""), "{aot}");
    assert!(
        after.contains("pip install"),
        "compiled first, installed then: {aot}"
    );
    assert!(!aot.contains("ENV TORCH_CUDA_ARCH_LIST"), "{aot}");
    let jit = guide(Flashinfer::Jit);
    assert!(!jit.contains("flashinfer.aot") && jit.contains("ENV TORCH_CUDA_ARCH_LIST=\"10.0a\""));
    let base = guide(Flashinfer::Base);
    assert!(!base.contains("source=/src/flashinfer"), "{base}");
}

#[test]
fn a_choice_that_a_stack_does_not_offer_is_refused() {
    let refused = |stack_name: &str, recipe, flashinfer| {
        let choice = ImageChoice {
            recipe,
            flashinfer: Some(flashinfer),
            ..ImageChoice::default()
        };
        let method = BuildMethod::default();
        render(&stack(stack_name), "base", &choice, &method, &BTreeMap::new()).unwrap_err()
    };
    let error = refused("current", Recipe::Thin, Flashinfer::Prebuilt);
    assert_eq!(error.hints(), ["it supports: base, jit"]);
    assert!(refused("guide", Recipe::Thin, Flashinfer::Aot).hints()[0].contains("--recipe guide"));
    assert!(
        refused("current", Recipe::Guide, Flashinfer::Aot)
            .message()
            .contains("does not support the guide's recipe")
    );
}

#[test]
fn prebuilt_kernels_come_from_an_index_of_their_own() {
    let choice = ImageChoice {
        flashinfer: Some(Flashinfer::Prebuilt),
        ..ImageChoice::default()
    };
    let rendered = render(
        &stack("cuda12"),
        "base",
        &choice,
        &BuildMethod::default(),
        &BTreeMap::new(),
    )
    .unwrap();
    insta::assert_snapshot!(rendered.dockerfile);
}

#[test]
fn the_cpu_stack_with_a_ca_bundle() {
    let stack = stack("cpu");
    let method = BuildMethod {
        secrets: vec![SECRET_CA],
        ..BuildMethod::default()
    };
    let base = stack.base_reference(None);
    let rendered = render(&stack, &base, &ImageChoice::default(), &method, &labels()).unwrap();
    insta::assert_snapshot!(rendered.dockerfile);
    let lines: usize = (1..=3)
        .map(|layer| {
            rendered.files[&format!("pip/{layer}/requirements.txt")]
                .lines()
                .count()
        })
        .sum();
    assert_eq!(lines, stack.install.packages().count());
    assert!(rendered.files.contains_key("site/vllm/_custom_ops.py"));
}

#[test]
fn the_classic_builder_gets_stages_instead_of_mounts() {
    let method = BuildMethod {
        builder: Builder::Classic,
        secrets: vec![SECRET_CA],
        wheels: true,
        ..BuildMethod::default()
    };
    let choice = ImageChoice::default();
    let of = |name: &str| {
        render(&stack(name), "base", &choice, &method, &labels())
            .unwrap()
            .dockerfile
    };
    insta::assert_snapshot!("classic-venv", of("cpu"));
    insta::assert_snapshot!("classic-base-python", of("guide"));
    for name in ["cpu", "guide", "current"] {
        let text = of(name);
        assert!(!text.contains("--mount"), "{text}");
        // The last stage holds neither the CA bundle nor the wheels.
        let last = text.rsplit("FROM ").next().unwrap();
        assert!(
            !last.contains("/run/ca") && !last.contains("/run/wheels"),
            "{text}"
        );
    }
}

#[test]
fn no_step_of_an_offline_build_fetches() {
    let method = BuildMethod {
        wheels: true,
        offline: true,
        ..BuildMethod::default()
    };
    let text = render(&stack("cpu"), "base", &ImageChoice::default(), &method, &labels())
        .unwrap()
        .dockerfile;
    assert!(!text.contains("apt-get"), "{text}");
    assert!(text.contains("dpkg-query --show ca-certificates gcc "), "{text}");
    assert_eq!(
        text.matches("pip install").count(),
        text.matches("--no-index").count()
    );
}

#[test]
fn refreshing_a_step_changes_it_and_no_earlier_step() {
    let render = |refresh: Option<(&str, &str)>| {
        let method = BuildMethod {
            refresh,
            ..BuildMethod::default()
        };
        render(&stack("cpu"), "base", &ImageChoice::default(), &method, &labels())
            .unwrap()
            .dockerfile
    };
    let (plain, fresh) = (render(None), render(Some(("2", "1763980000"))));
    let (before, _) = fresh.split_once("ARG DSR1_REFRESH=1763980000\n").unwrap();
    assert!(plain.starts_with(before) && before.contains("source=pip/1") && !before.contains("source=pip/2"));
    for step in steps(&stack("cpu"), &ImageChoice::default()) {
        assert!(
            render(Some((&step, "1"))).contains("ARG DSR1_REFRESH=1"),
            "{step}"
        );
    }
    let choice = ImageChoice {
        recipe: Recipe::Guide,
        ..ImageChoice::default()
    };
    for step in steps(&stack("guide"), &choice) {
        let method = BuildMethod {
            refresh: Some((&step, "1")),
            ..BuildMethod::default()
        };
        let text = crate::plan::dockerfile::render(&stack("guide"), "base", &choice, &method, &labels())
            .unwrap()
            .dockerfile;
        assert!(text.contains("ARG DSR1_REFRESH=1"), "{step}");
    }
}

#[test]
fn two_renderings_are_the_same_bytes() {
    for name in ["cpu", "guide", "cuda12", "current"] {
        let once = plain(&stack(name), "base", &labels()).unwrap();
        assert_eq!(once, plain(&stack(name), "base", &labels()).unwrap());
    }
}

#[test]
fn a_changed_label_leaves_the_steps_as_they_are() {
    let stack = stack("cpu");
    let (one, other) = (
        plain(&stack, "base", &labels()),
        plain(&stack, "base", &BTreeMap::new()),
    );
    let steps = |rendered: Result<Rendered>| {
        let text = rendered.unwrap().dockerfile;
        text.split_once("STOPSIGNAL").unwrap().0.to_owned()
    };
    let steps = [steps(one), steps(other)];
    assert_eq!(steps[0], steps[1]);
    // A step runs again if a file that it mounts changes. The context's root holds the Dockerfile, so no step mounts
    // it.
    for mount in steps[0]
        .split("--mount=")
        .filter(|mount| mount.starts_with("type=bind"))
    {
        assert!(mount.starts_with("type=bind,source="), "{mount}");
    }
}

fn source(stack: &mut Stack) -> &mut SourceBuild {
    stack.source.as_mut().unwrap()
}

#[test]
fn hostile_values_are_refused() {
    let base = |value: &str| plain(&stack("cpu"), value, &labels()).is_err();
    assert!(base("debian\nRUN evil") && base("-flag") && base("") && base("a b") && base("$(x)"));
    let with = |change: &dyn Fn(&mut Stack)| {
        let mut hostile = stack("guide");
        change(&mut hostile);
        let choice = ImageChoice {
            recipe: Recipe::Guide,
            ..ImageChoice::default()
        };
        let guide = render(&hostile, "base", &choice, &BuildMethod::default(), &labels());
        plain(&hostile, "debian", &labels()).and(guide).is_err()
    };
    assert!(!with(&|_| {}));
    assert!(with(
        &|stack| stack.install.apt = vec!["curl; rm -rf /".to_owned()]
    ));
    assert!(with(&|stack| stack.install.apt = vec!["curl=1 && x".to_owned()]));
    assert!(with(
        &|stack| stack.install.files = BTreeMap::from([("../../x".to_owned(), String::new())])
    ));
    assert!(with(&|stack| stack.image_python = "python3; x".to_owned()));
    assert!(with(&|stack| source(stack).flashinfer.commit = "main".to_owned()));
    assert!(with(
        &|stack| source(stack).flashinfer.url = "https://h/a && x".to_owned()
    ));
    assert!(with(
        &|stack| source(stack).lm_eval.repository.url = "--upload-pack=x".to_owned()
    ));
    assert!(with(&|stack| source(stack).apt = vec!["-o=x".to_owned()]));
}

proptest::proptest! {
    /// Any value is refused, or the Dockerfile keeps its number of lines and the value is quoted in a label, never in a
    /// step.
    #[test]
    fn no_value_adds_an_instruction(value in "\\PC{0,20}[\\n\\r\"\\\\$#;&|`<>() ]{0,3}\\PC{0,20}", place in 0..8_u8) {
        let choice = ImageChoice {
            recipe: if place < 4 { Recipe::Thin } else { Recipe::Guide },
            ..ImageChoice::default()
        };
        let mut stack = stack("guide");
        let (mut labels, mut base) = (BTreeMap::new(), "base".to_owned());
        let lines = |stack: &Stack, base: &str, labels: &BTreeMap<String, String>| {
            render(stack, base, &choice, &BuildMethod::default(), labels).map(|rendered| rendered.dockerfile)
        };
        let before = lines(&stack, &base, &labels).unwrap().lines().count();
        let source = stack.source.as_mut().unwrap();
        match place {
            0 | 4 => { labels.insert("io.dsr1.role".to_owned(), value.clone()); }
            1 | 5 => base.clone_from(&value),
            2 => stack.image_python.clone_from(&value),
            3 => stack.install.files = BTreeMap::from([(value.clone(), value.clone())]),
            6 => source.flashinfer.url = format!("https://h/{value}"),
            _ => source.apt = vec![value.clone()],
        }
        if let Ok(text) = lines(&stack, &base, &labels) {
            let added = match place { 0 | 4 => 1, 3 => 2, _ => 0 };
            proptest::prop_assert_eq!(text.lines().count(), before + added, "{}", text);
            let labelled = matches!(place, 0 | 4);
            let shell = value.contains(|c: char| ";&|`$<>()\"\\\n\r".contains(c));
            proptest::prop_assert!(labelled || !shell, "{}", text);
        }
    }
}

#[test]
fn a_step_of_the_build_has_a_title_that_says_what_it_does() {
    for (name, title) in [
        (
            "[stage-0 5/8] RUN --mount=type=bind,source=pip/1,target=/run/dsr1 --mount=type=cache,id=dsr1-pip",
            Some("[stage-0 5/8] packages, layer 1"),
        ),
        (
            "Step 7/14 : COPY pip/uv /run/dsr1/pip/uv",
            Some("list of packages, layer uv"),
        ),
        (
            "[stage-0 2/8] RUN --mount=type=cache,id=dsr1-apt rm -f x && apt-get update && y",
            Some("[stage-0 2/8] Debian packages"),
        ),
        (
            "[stage-0 3/8] RUN python3 -m venv /opt/dsr1",
            Some("[stage-0 3/8] venv"),
        ),
        (
            "Step 8/14 : RUN { [ -x /opt/dsr1/bin/uv ] && uv -r /run/dsr1/pip/2/requirements.txt; }",
            Some("packages, layer 2"),
        ),
        ("exporting to image", None),
        (
            "[internal] load metadata for docker.io/library/debian:bookworm-slim",
            None,
        ),
    ] {
        assert_eq!(super::step_title(name).as_deref(), title, "{name}");
    }
}
