//! Weights in the hub cache.

use std::time::Duration;

use super::safe;
use super::table::{aligned, row};
use crate::report::{PullSurvey, SurveyedFile, WeightsChecked, WeightsRepo, WeightsState, WrongState};
use crate::units::{self, Bytes, counted};

/// Returns the content of the directory `cache`: one line for each snapshot, and one for an unfinished pull of a repository
/// without a snapshot.
#[must_use]
pub fn weights(repos: &[WeightsRepo], cache: &str) -> String {
    let is_begun = |repo: &&WeightsRepo| repo.snapshots.is_empty() && repo.unfinished_bytes > 0;
    let snapshots: Vec<_> = repos
        .iter()
        .flat_map(|repo| repo.snapshots.iter().map(move |snapshot| (repo, snapshot)))
        .collect();
    if snapshots.is_empty() && !repos.iter().any(|repo| is_begun(&repo)) {
        return format!("no weights in {}\n", safe(cache));
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
                WeightsState::Proven => "verified",
                WeightsState::Part => "verified, partial",
                WeightsState::Unlisted => "verified, files may be missing",
                WeightsState::Changed => "changed since it was verified",
                WeightsState::Wrong => "damaged, found by a check",
                WeightsState::Unproven => "not checked: another client wrote it",
            },
        ])
    }));
    rows.extend(repos.iter().filter(is_begun).map(|repo| {
        let bytes = Bytes(repo.bytes + repo.unfinished_here_bytes).to_string();
        row([&*repo.repo, "", "", "", &bytes, "unfinished"])
    }));
    aligned(&rows)
}

/// Returns the space that each repository takes.
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

/// Returns the result of a check.
#[must_use]
pub fn weights_checked(checked: &WeightsChecked) -> String {
    let WeightsChecked {
        repo,
        commit,
        files,
        part,
        unlisted,
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
    let mut bad = vec![row(["FILE", "STATE", "FOUND"])];
    bad.extend(wrong.iter().map(|file| {
        let state = match file.state {
            WrongState::Wrong => "wrong",
            WrongState::Changed => "changed",
            WrongState::Missing => "missing",
            WrongState::Unknown => "unknown",
            WrongState::Repaired => "was wrong",
        };
        row([&*file.path, state, &file.why])
    }));
    let mut summary = vec![
        row(["model", &**repo]),
        row(["commit", &**commit]),
        row([
            "files",
            &*format!(
                "{files}{}, {}, {how} in {seconds:.1} s",
                if *part { ", a part of the repository" } else { "" },
                Bytes(*bytes)
            ),
        ]),
    ];
    if *unlisted {
        let text =
            format!("unknown: no hub was asked; `dsr1 pull {repo}` asks one, and fetches missing files");
        summary.push(row(["complete", &*text]));
    }
    if *repaired > 0 {
        let text = format!(
            "{}, {} fetched",
            counted(*repaired, "file"),
            Bytes(*fetched_bytes)
        );
        summary.push(row(["repaired", &*text]));
    }
    if wrong.is_empty() {
        return aligned(&summary);
    }
    format!("{}\n{}", aligned(&bad), aligned(&summary))
}

/// Returns the files that a pull would fetch, and their total.
#[must_use]
pub fn pull_survey(survey: &PullSurvey) -> String {
    let PullSurvey {
        schema: _,
        repo,
        revision,
        commit,
        license,
        must_be_accepted,
        page,
        destination,
        free_bytes,
        needed_bytes,
        total_bytes,
        missing_bytes,
        limit_rate,
        // Shown as an error, with its hints.
        refusal: _,
        files,
    } = survey;
    let mut rows = vec![row(["FILE", "SIZE", "STATE"])];
    rows.extend(
        files
            .iter()
            .map(|file| row([&*file.path, &Bytes(file.bytes).to_string(), &state_of_file(file)])),
    );
    let mut text = aligned(&rows);
    let license = match (&**license, must_be_accepted) {
        ("", _) => format!("not stated, see {page}"),
        (license, true) => format!("{license}, needs your agreement: {page}"),
        (license, false) => license.to_owned(),
    };
    let free = free_bytes.map_or_else(
        || "free space not checked".to_owned(),
        |free| {
            let fits = if free < *needed_bytes { ": not enough" } else { "" };
            format!(
                "{} needed with 5 % to spare, {} free{fits}",
                Bytes(*needed_bytes),
                Bytes(free)
            )
        },
    );
    let here = total_bytes - missing_bytes;
    let doubtful: u64 = files
        .iter()
        .filter(|file| is_doubtful(file))
        .map(|file| file.bytes)
        .sum();
    let doubtful = match doubtful {
        0 => String::new(),
        bytes => format!(", and corrupt ranges of {}", Bytes(bytes)),
    };
    let summary = [
        row(["model", &**repo]),
        row(["revision", &**revision]),
        row(["commit", &**commit]),
        row(["licence", &*license]),
        row([
            "files",
            &*format!(
                "{}, {}, of which {} exist here",
                files.len(),
                Bytes(*total_bytes),
                Bytes(here)
            ),
        ]),
        row([
            "to fetch",
            &*format!("{} to {destination}{doubtful}", Bytes(*missing_bytes)),
        ]),
        row(["space", &*free]),
        row(["time", &*times(*missing_bytes, *limit_rate)]),
    ];
    text.push('\n');
    text + &aligned(&summary)
}

/// Returns true if the file has its full size here and is not verified.
fn is_doubtful(file: &SurveyedFile) -> bool {
    !file.proven && file.here_bytes >= file.bytes && file.bytes > 0
}

fn state_of_file(file: &SurveyedFile) -> String {
    if file.refused {
        "code, refused without --allow-code or --exclude".to_owned()
    } else if file.proven {
        "here, verified".to_owned()
    } else if file.damaged {
        "here, damaged: corrupt ranges are fetched again".to_owned()
    } else if is_doubtful(file) {
        "here, not verified yet".to_owned()
    } else if file.here_bytes > 0 {
        format!("{} here", Bytes(file.here_bytes))
    } else {
        "to fetch".to_owned()
    }
}

/// Returns the time at the rate limit, or without one at 10 Gbit/s and at 100 Gbit/s.
fn times(bytes: u64, limit_rate: Option<u64>) -> String {
    let at = |rate: u64| {
        let time = Duration::from_millis(bytes.saturating_mul(1000) / rate.max(1));
        units::duration(time)
    };
    match limit_rate {
        Some(rate) => format!("{} at {}/s", at(rate), Bytes(rate)),
        None => format!(
            "{} at 10 Gbit/s, {} at 100 Gbit/s",
            at(1_250_000_000),
            at(12_500_000_000)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::WrongFile;

    #[test]
    fn wrong_files_are_a_table_of_their_own() {
        let mut checked = WeightsChecked {
            repo: "a/b".to_owned(),
            commit: "c0ffee".to_owned(),
            files: 2,
            part: false,
            unlisted: false,
            bytes: 4_200_000,
            fast: false,
            seconds: 0.25,
            wrong: Vec::new(),
            repaired: 0,
            fetched_bytes: 0,
        };
        let summary = "model   a/b\ncommit  c0ffee\nfiles   2, 4.2 MB, every hash checked in 0.2 s\n";
        assert_eq!(weights_checked(&checked), summary);
        checked.wrong.push(WrongFile {
            path: "x.safetensors".to_owned(),
            why: "its size is 3".to_owned(),
            state: WrongState::Wrong,
        });
        assert_eq!(
            weights_checked(&checked),
            format!("FILE           STATE  FOUND\nx.safetensors  wrong  its size is 3\n\n{summary}")
        );
    }
}
