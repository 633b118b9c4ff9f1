//! Weights in the hub cache.

use super::table::{aligned, row};
use crate::report::{WeightsChecked, WeightsRepo, WeightsState};
use crate::units::Bytes;

/// One line per snapshot.
#[must_use]
pub fn weights(repos: &[WeightsRepo]) -> String {
    let snapshots: Vec<_> = repos
        .iter()
        .flat_map(|repo| repo.snapshots.iter().map(move |snapshot| (repo, snapshot)))
        .collect();
    if snapshots.is_empty() {
        return "no weights\n".to_owned();
    }
    let mut rows = vec![row([
        "REPOSITORY",
        "REVISION",
        "COMMIT",
        "FILES",
        "SIZE",
        "STATE",
    ])];
    rows.extend(snapshots.iter().map(|(repo, snapshot)| {
        row([
            &*repo.repo,
            &snapshot.revisions.join(", "),
            &snapshot.commit[..12],
            &snapshot.files.to_string(),
            &Bytes(snapshot.bytes).to_string(),
            match snapshot.state {
                WeightsState::Proven => "proven",
                WeightsState::Changed => "changed since it was proven",
                WeightsState::Unproven => "not checked: another client wrote it",
            },
        ])
    }));
    aligned(&rows)
}

/// What takes the space.
#[must_use]
pub fn weights_space(repos: &[WeightsRepo]) -> String {
    let mut rows = vec![row(["REPOSITORY", "SIZE", "UNFINISHED", "DIRECTORY"])];
    rows.extend(repos.iter().map(|repo| {
        row([
            &*repo.repo,
            &Bytes(repo.bytes).to_string(),
            &Bytes(repo.unfinished_bytes).to_string(),
            &repo.path,
        ])
    }));
    let total = |of: fn(&WeightsRepo) -> u64| Bytes(repos.iter().map(of).sum()).to_string();
    rows.push(row([
        "total",
        &*total(|repo| repo.bytes),
        &total(|repo| repo.unfinished_bytes),
        "",
    ]));
    aligned(&rows)
}

/// What a check found.
#[must_use]
pub fn weights_checked(checked: &WeightsChecked) -> String {
    let WeightsChecked {
        repo,
        commit,
        files,
        bytes,
        fast,
        seconds,
        wrong,
        repaired,
        fetched_bytes,
    } = checked;
    let how = if *fast {
        "sizes and times compared"
    } else {
        "every hash checked"
    };
    let mut rows = vec![
        row(["model", &**repo]),
        row(["commit", &**commit]),
        row([
            "files",
            &*format!("{files}, {}, {how} in {seconds:.1} s", Bytes(*bytes)),
        ]),
    ];
    rows.extend(wrong.iter().map(|file| row(["wrong", &*file.path, &file.why])));
    if *repaired > 0 {
        let text = format!("{repaired} files, {} fetched", Bytes(*fetched_bytes));
        rows.push(row(["repaired", &*text]));
    }
    aligned(&rows)
}
