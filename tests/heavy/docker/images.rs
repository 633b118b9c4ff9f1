//! Images as files, and the recognition of images that dsr1 built.

use std::fmt::Write as _;
use std::path::Path;

use dsr1::error::Kind;
use dsr1::event::{Recorder, StepEvents};
use dsr1::plan::{LABEL_ROLE, LABEL_STACK};

use super::daemon::Daemon;
use super::session::build;
use super::{BASE, Home, Name, cli, docker, image, support};

/// Builds an image with the labels of a dsr1 build.
async fn ours(name: &Name) -> String {
    let mut step = image(
        name,
        &format!("sh -c 'head -c 3000000 /dev/urandom > /big; : {}'", name.0),
    );
    writeln!(
        step.dockerfile,
        "LABEL {LABEL_ROLE}=image {LABEL_STACK}=test-{}",
        name.0
    )
    .unwrap();
    build(&step).await.0.unwrap();
    step.tag
}

#[tokio::test]
async fn a_saved_image_is_loaded_elsewhere_as_it_was() {
    let name = Name::new("save");
    let tag = ours(&name).await;
    let home = Home::new();
    let run = home
        .run(&[
            "image",
            "save",
            &format!("test-{}", name.0),
            "--output",
            "image.tar",
        ])
        .expect(0);
    assert!(run.stdout.starts_with(&tag), "{}", run.stdout);
    let again = home
        .run(&["image", "save", &tag, "--output", "image.tar"])
        .expect(2);
    assert!(again.stderr.contains("--force replaces it"), "{}", again.stderr);
    let id = cli(&["image", "inspect", "--format", "{{.Id}}", &tag]);
    let file = home.path().join("image.tar");
    // Docker itself can load it, and so can dsr1 on a daemon without images.
    let daemon = Daemon::start(None);
    let elsewhere = Home::new().with("DOCKER_HOST", daemon.host());
    let run = elsewhere
        .run(&["image", "load", file.to_str().unwrap()])
        .expect(0);
    assert!(run.stderr.contains("every hash checked"), "{}", run.stderr);
    assert!(daemon.cli(&["image", "inspect", id.trim()]));
    let listed = elsewhere
        .run(&["image", "list", "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(listed["images"][0]["tags"][0], tag.as_str());
    cli(&["image", "rm", &tag]);
    cli(&["load", "--quiet", "--input", file.to_str().unwrap()]);
    assert_eq!(cli(&["image", "inspect", "--format", "{{.Id}}", &tag]), id);
    cli(&["image", "rm", &tag]);
    assert_eq!(support::tree(home.path()).len(), 1, "only the file is left");
}

/// A file with one flipped bit is not loaded.
#[tokio::test]
async fn a_saved_image_with_one_flipped_bit_is_not_loaded() {
    let name = Name::new("flipped");
    let tag = ours(&name).await;
    let home = Home::new();
    home.run(&["image", "save", &tag, "--output", "image.tar"])
        .expect(0);
    cli(&["image", "rm", &tag]);
    let path = home.path().join("image.tar");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let run = home.run(&["image", "load", "image.tar"]).expect(6);
    assert!(run.stderr.contains("does not match its hash"), "{}", run.stderr);
    assert_eq!(cli(&["image", "ls", "--quiet", &tag]), "");
    // A truncated file is refused too, and so is an archive that `docker save` wrote.
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes[..middle]).unwrap();
    home.run(&["image", "load", "image.tar"]).expect(6);
    cli(&["save", "--output", path.to_str().unwrap(), BASE]);
    let run = home.run(&["image", "load", "image.tar"]).expect(6);
    assert!(run.stderr.contains("docker load"), "{}", run.stderr);
}

#[tokio::test]
async fn a_full_disk_leaves_no_half_of_an_image() {
    let name = Name::new("savefull");
    let tag = ours(&name).await;
    let docker = docker().await;
    let recorder = Recorder::default();
    let events = StepEvents::new(&recorder, 1);
    let error = docker
        .save_image(&tag, Path::new("/nonexistent/image.tar"), "1", &events)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Host, "{error:?}");
    cli(&["image", "rm", &tag]);
}

#[tokio::test]
async fn only_images_of_ours_that_nobody_uses_are_pruned() {
    docker().await;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(None);
    daemon.with_base(dir.path());
    let elsewhere = daemon.connect().await;
    let home = Home::new().with("DOCKER_HOST", daemon.host());
    let (old, used, foreign, newest) = (
        Name::new("old"),
        Name::new("used"),
        Name::new("foreign"),
        Name::new("newest"),
    );
    let mut tags = Vec::new();
    for (name, stack) in [
        (&old, "cpu"),
        (&used, "cpu"),
        (&foreign, "mine"),
        (&newest, "cpu"),
    ] {
        let mut step = image(name, &format!("sh -c ': {}'", name.0));
        writeln!(step.dockerfile, "LABEL {LABEL_ROLE}=image {LABEL_STACK}={stack}").unwrap();
        let recorder = Recorder::default();
        elsewhere
            .build(&step, &StepEvents::new(&recorder, 1))
            .await
            .unwrap();
        tags.push(step.tag);
        // Build times have a resolution of one second.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    }
    assert!(daemon.cli(&["create", "--name", "user", "--network", "host", &tags[1], "true"]));
    // An image that a user built on one has its labels, and a name of its own.
    assert!(daemon.cli(&["commit", "--change", "ENV MINE=1", "user", "mycorp/prod:1"]));
    let dry = home.run(&["image", "prune", "--dry-run"]).expect(0).stdout;
    assert!(dry.contains(&tags[0]) && dry.lines().count() == 1, "{dry}");
    home.run(&["image", "prune", "--yes"]).expect(0);
    assert!(!daemon.cli(&["image", "inspect", &tags[0]]));
    for kept in [&tags[1], &tags[2], &tags[3], "mycorp/prod:1", BASE] {
        assert!(daemon.cli(&["image", "inspect", kept]), "{kept}");
    }
    assert_eq!(
        home.run(&["image", "prune", "--yes"]).expect(0).stdout,
        "nothing to remove\n"
    );
    let all = home.run(&["image", "prune", "--all", "--yes"]).expect(0).stdout;
    assert!(
        all.contains(&tags[2]) && all.contains(&tags[3]) && !all.contains("mycorp"),
        "{all}"
    );
}

#[tokio::test]
async fn a_tag_of_an_image_that_dsr1_did_not_build_is_not_replaced() {
    let name = Name::new("taken");
    let tag = ours(&name).await;
    let home = Home::new();
    home.run(&["image", "save", &tag, "--output", "image.tar"])
        .expect(0);
    cli(&["image", "rm", &tag]);
    cli(&["tag", BASE, &tag]);
    let before = cli(&["image", "inspect", "--format", "{{.Id}}", &tag]);
    let run = home.run(&["image", "load", "image.tar"]).expect(4);
    assert!(
        run.stderr.contains(", which dsr1 did not build"),
        "{}",
        run.stderr
    );
    assert_eq!(cli(&["image", "inspect", "--format", "{{.Id}}", &tag]), before);
    cli(&["image", "rm", &tag]);
    for (what, code) in [("/dev/null", 3), ("/", 3), ("/nonexistent", 3)] {
        home.run(&["image", "load", what]).expect(code);
    }
}
