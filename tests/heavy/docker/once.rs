//! Short commands in containers of their own: an interrupted one leaves no container, and a killed one is found by `clean`.

use std::time::Duration;

use super::{BASE, Name, cli, docker};
use crate::support::{Home, lock};

#[tokio::test]
async fn an_interrupted_command_leaves_no_container() {
    let _images = lock::daemon();
    let docker = docker().await;
    let argv = ["sleep", "600"].map(str::to_owned);
    let mine = format!("dsr1-once-{}-", std::process::id());
    let names = || {
        cli(&[
            "ps",
            "--all",
            "--filter",
            &format!("name=^{mine}"),
            "--format",
            "{{.Names}}",
        ])
    };
    tokio::select! {
        done = docker.run_once(BASE, &argv) => panic!("{done:?}"),
        () = tokio::time::sleep(Duration::from_secs(3)) => {}
    }
    assert!(names().starts_with(&mine), "{}", names());
    docker.end_one_offs().await;
    assert_eq!(names(), "");
    let argv = ["echo", "done"].map(str::to_owned);
    assert_eq!(docker.run_once(BASE, &argv).await.unwrap(), b"done\n");
    assert_eq!(names(), "");
}

#[tokio::test]
async fn a_container_that_a_killed_command_left_is_found() {
    let _images = lock::daemon();
    let docker = docker().await;
    let (ended, runs) = (Name::new("ended"), Name::new("runs"));
    let label = "--label=io.dsr1.role=once";
    cli(&["run", "--name", &ended.0, label, BASE, "true"]);
    cli(&["run", "--detach", "--name", &runs.0, label, BASE, "sleep", "600"]);
    let listed = Home::new()
        .run(&["clean", "--dry-run", "--format", "json"])
        .expect(0)
        .json();
    let removes = |name: &str| {
        let items = listed["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["name"] == name).unwrap();
        assert_eq!(item["kind"], "container");
        item["remove"].as_bool().unwrap()
    };
    assert!(removes(&ended.0) && !removes(&runs.0), "{listed:#}");
    docker.remove_one_off(&ended.0).await.unwrap();
    assert_eq!(
        cli(&[
            "ps",
            "--all",
            "--quiet",
            "--filter",
            &format!("name=^{}$", ended.0)
        ]),
        ""
    );
}
