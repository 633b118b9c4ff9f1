//! Tests of the terminal display, on a screen that keeps what a user would see.

mod screen;

use screen::Screen;

use super::*;
use crate::ui::tests::transcript;

/// Shows the first `events` of the transcript on a screen of `width` columns.
fn shown(events: usize, width: u16, color: bool) -> (Tty, Screen) {
    let screen = Screen::new(width);
    let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
    let tty = Tty::new_on(target, Box::new(screen.clone()), color, Some(usize::from(width)));
    for (_, event) in transcript().iter().take(events) {
        tty.event(event);
    }
    (tty, screen)
}

#[test]
fn finished_steps_stay_and_the_running_one_is_last() {
    let (tty, screen) = shown(usize::MAX, 110, false);
    insta::with_settings!({ filters => vec![(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]", "*"), (r"\d+s\b( *)$", "Ts")] }, {
        insta::assert_snapshot!(screen.text());
    });
    drop(tty);
    let last = screen.text().lines().last().unwrap().to_owned();
    assert!(last.starts_with("✗ verify answers "), "{last}");
    assert!(screen.raw().ends_with('\n'));
}

#[test]
fn a_pull_shows_a_bar_that_fits_eighty_columns() {
    let (_tty, screen) = shown(7, 80, false);
    let lines: Vec<String> = screen.text().lines().map(str::to_owned).collect();
    let [.., line, bar] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert!(
        line.contains("[2/4] pull nvidia/DeepSeek-R1-0528-FP4") && line.contains("model-00042"),
        "{line}"
    );
    assert!(bar.contains("━") && bar.contains("106.0 GB of 413.0 GB"), "{bar}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
}

/// A status line is as long as the terminal is wide, and says that something is left out; no word and no figure is cut.
#[test]
fn a_status_line_is_shortened_with_a_sign() {
    let message = "fetch 120 of 182 packages with 5.4 GB, then link 182 of them";
    for width in 20..100 {
        let (tty, screen) = shown(4, width, false);
        tty.event(&Event::Activity {
            step: 2,
            what: message.to_owned(),
            done: None,
            total: None,
        });
        let text = screen.text();
        let line = text.lines().last().unwrap();
        assert!(line.chars().count() <= usize::from(width), "{line}");
        let shown = line.split_once("0s  ").map_or("", |(_, shown)| shown);
        if let Some(kept) = shown.strip_suffix('…') {
            let rest = message.strip_prefix(kept).unwrap();
            assert!(rest.starts_with(' '), "{line}");
        } else {
            assert!(shown == message || shown.is_empty(), "{line}");
        }
        for (of, fetched) in [
            (None, 5_400_000_000),
            (Some(413_000_000_000), 106_000_000_000_u64),
        ] {
            tty.event(&Event::Progress {
                step: 2,
                done_bytes: fetched,
                total_bytes: of,
                fetched_bytes: None,
                item: message.to_owned(),
            });
            let text = screen.text();
            let lines: Vec<&str> = text.lines().collect();
            assert!(
                lines
                    .iter()
                    .all(|line| line.chars().count() <= usize::from(width)),
                "{text}"
            );
        }
    }
}

/// The line of a file keeps the end of its name, which tells the files of a model apart.
#[test]
fn the_line_of_a_file_keeps_the_end_of_its_name() {
    let (tty, screen) = shown(4, 60, false);
    tty.event(&Event::File {
        step: 2,
        path: "model-with-a-long-name-00041-of-00163.safetensors".to_owned(),
        done_bytes: 1_000_000_000,
        total_bytes: 4_000_000_000,
        state: crate::event::FileState::Fetching,
        retries: 0,
    });
    let text = screen.text();
    let line = text.lines().last().unwrap();
    assert!(
        line.contains('…') && line.contains("safetensors   25 %  1.0 GB of 4.0 GB"),
        "{line}"
    );
    assert!(line.chars().count() <= 60, "{line}");
}

#[test]
fn a_childs_line_is_no_status_and_text_is_shown_harmlessly() {
    let (_tty, screen) = shown(17, 110, false);
    let text = screen.text();
    assert!(text.contains("capture\\x1b[2J graphs: 5 of 22"), "{text}");
    assert!(!text.contains("server_args"), "{text}");
    assert!(!screen.raw().contains('\x1b'), "{:?}", screen.raw());
}

#[test]
fn a_note_breaks_between_words() {
    let (tty, screen) = shown(0, 40, false);
    let text = "runtime process: a Docker daemon answers, but the base image cannot be pulled";
    tty.event(&Event::Note {
        text: text.to_owned(),
    });
    assert_eq!(
        screen.text(),
        "note: runtime process: a Docker daemon\nanswers, but the base image cannot be\npulled"
    );
}

#[test]
fn ready_is_highlighted() {
    let (tty, _) = shown(0, 80, true);
    assert_eq!(tty.styled_summary("READY on x"), "\x1b[1;32mREADY\x1b[0m on x");
    assert_eq!(tty.styled_summary("163 files"), "\x1b[2m163 files\x1b[0m");
}

#[test]
fn a_build_step_has_the_room_that_the_terminal_has() {
    let name = "install the packages of the engine, without their dependencies";
    let line = |width| {
        let (tty, screen) = shown(0, width, false);
        tty.event(&Event::BuildStep {
            step: 1,
            name: name.to_owned(),
            state: BuildState::Done,
            elapsed_ms: 1000,
        });
        screen.text()
    };
    assert!(line(140).contains(name), "{}", line(140));
    let narrow = line(60);
    assert!(narrow.contains('…') && narrow.chars().count() <= 60, "{narrow}");
}

#[test]
fn work_without_bytes_takes_the_place_of_a_bar() {
    let (tty, screen) = shown(7, 80, false);
    assert!(
        screen.text().contains("106.0 GB of 413.0 GB"),
        "{}",
        screen.text()
    );
    tty.event(&Event::Activity {
        step: 2,
        what: "remove incomplete packages".to_owned(),
        done: None,
        total: None,
    });
    let text = screen.text();
    assert!(
        !text.contains("of 413.0 GB") && text.contains("remove incomplete packages"),
        "{text}"
    );
}
