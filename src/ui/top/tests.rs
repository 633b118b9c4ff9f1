//! Screens as terminals of some sizes show them.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::draw_screen;
use super::paint::Paint;
use crate::facts::{Gpu, GpuHealth};
use crate::report::{Happening, Load, ServerEvent, ServerState, ServerStatus};
use crate::sglang::{Activity, Histogram, RankLoad};
use crate::top::{Action, Look, Screen, Seen, Top};

/// Returns what a terminal of these columns and rows shows, without the spaces at the ends of its lines.
fn shown(screen: &Screen, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal
        .draw(|frame| draw_screen(frame, screen, Paint { color: true }))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let line = |row: u16| {
        let cells: String = (0..columns)
            .map(|column| buffer[(column, row)].symbol())
            .collect();
        cells.trim_end().to_owned()
    };
    (0..rows)
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
        .trim_end()
        .to_owned()
}

fn status(name: &str, state: ServerState) -> ServerStatus {
    ServerStatus {
        name: name.to_owned(),
        runtime: "docker".to_owned(),
        state,
        id: "3f2a9c0d1e4b".to_owned(),
        profile: "fp8-low-latency".to_owned(),
        stack: "current".to_owned(),
        base_url: "http://127.0.0.1:30000".to_owned(),
        model: "/models/x".to_owned(),
        served_model: None,
        exit_code: None,
        cause: None,
        age_s: (!state.has_ended()).then_some(7500),
        stage: None,
        load: None,
    }
}

/// A server that computes, in the second of this number.
fn busy(name: &str, second: u64) -> Seen {
    let histogram = |bounds: [f64; 3], count: u64| {
        let [low, middle, high] = bounds;
        Histogram::new(vec![
            (low, count * 3),
            (middle, count * 9),
            (high, count * 10),
            (f64::INFINITY, count * 10 + second / 30),
        ])
    };
    // Faster and slower again, so that the chart has a form.
    let generated: u64 = (0..second).map(|at| 1000 + 40 * at.abs_diff(60)).sum();
    Seen {
        status: ServerStatus {
            load: Some(Load {
                running: 48,
                queued: 12,
                tokens_per_s: 1830.4,
                kv_use: 0.57,
                ..Load::default()
            }),
            ..status(name, ServerState::Busy)
        },
        activity: Some((
            Duration::from_secs(second),
            Activity {
                generated_tokens: generated,
                prompt_tokens: second * 12_345,
                cached_tokens: Some(second * 5000),
                finished: second * 3,
                aborted: Some(4),
                retracted: Some(second / 20),
                accept_length: Some(2.61),
                ttft: histogram([0.25, 1.0, 400.0], second),
                itl: histogram([0.02, 0.04, 0.08], second * 100),
                e2e: histogram([8.0, 20.0, 60.0], second),
                ranks: (0..8)
                    .map(|rank| RankLoad {
                        kind: "dp",
                        rank: rank.to_string(),
                        running: 5 + rank % 3,
                        kv_use: 0.4 + 0.05 * f64::from(u32::try_from(rank % 4).unwrap()),
                    })
                    .collect(),
            },
        )),
    }
}

fn ended(name: &str, state: ServerState, cause: &str) -> Seen {
    Seen {
        status: ServerStatus {
            cause: Some(cause.to_owned()),
            exit_code: (state == ServerState::Crashed).then_some(137),
            ..status(name, state)
        },
        activity: None,
    }
}

fn starting(name: &str) -> Seen {
    Seen {
        status: ServerStatus {
            stage: Some("load weights".to_owned()),
            ..status(name, ServerState::Starting)
        },
        activity: None,
    }
}

fn event(second: u8, what: Happening, text: &str) -> ServerEvent {
    ServerEvent {
        at: format!("2026-11-23T21:52:{second:02}Z"),
        server: "dsr1-fp8-low-latency".to_owned(),
        what,
        text: text.to_owned(),
    }
}

fn gpus(count: u32) -> Vec<Gpu> {
    (0..count)
        .map(|index| Gpu {
            index,
            name: "NVIDIA H200".to_owned(),
            memory_bytes: 150_754_820_096,
            memory_used_bytes: Some(126_000_000_000),
            compute_capability: "9.0".to_owned(),
            mig: None,
            health: Some(GpuHealth {
                utilization: Some(97),
                temperature_c: Some(61 + index),
                power_w: Some(642),
                power_limit_w: Some(700),
                power_capped: Some(index == 2),
                slowdowns: if index == 3 {
                    vec!["hw_thermal_slowdown".to_owned()]
                } else {
                    Vec::new()
                },
                ..GpuHealth::default()
            }),
        })
        .collect()
}

/// Returns the screen after looks in each of 100 seconds.
fn screen(servers: impl Fn(u64) -> Vec<Seen>, gpu_count: u32, actions: &[Action]) -> Screen {
    let mut top = Top::new(Duration::from_secs(1));
    for second in 1..=100 {
        let look = Look {
            servers: servers(second),
            sought: None,
            events: vec![
                event(31, Happening::Started, ""),
                event(59, Happening::Ready, "28 s after its start"),
            ],
            trouble: None,
        };
        top.add_look(Duration::from_secs(second), look);
    }
    top.set_gpus(gpus(gpu_count));
    for action in actions {
        assert!(top.do_action(*action));
    }
    top.screen(Duration::from_secs(101))
}

const NAME: &str = "dsr1-fp8-low-latency";

/// Servers in each state.
fn several(second: u64) -> Vec<Seen> {
    vec![
        busy(NAME, second),
        starting("dsr1-mine"),
        ended("dsr1-old", ServerState::Crashed, "GPU memory ran out under load"),
        ended(
            "dsr1-stuck",
            ServerState::Hung,
            "60 requests run, and no batch was computed for 41 s; dsr1 stop dsr1-stuck ends it; py-spy dump shows where its scheduler is",
        ),
    ]
}

#[test]
fn a_busy_server_on_a_large_terminal() {
    let screen = screen(|second| vec![busy(NAME, second)], 8, &[]);
    insta::assert_snapshot!("busy-140x50", shown(&screen, 140, 50));
}

#[test]
fn a_busy_server_on_a_small_terminal() {
    let screen = screen(|second| vec![busy(NAME, second)], 8, &[]);
    insta::assert_snapshot!("busy-80x24", shown(&screen, 80, 24));
    insta::assert_snapshot!("busy-60x10", shown(&screen, 60, 10));
}

/// The documentation shows the screen as it is drawn.
#[test]
fn the_documentation_shows_a_screen() {
    let screen = screen(|second| vec![busy(NAME, second)], 8, &[]);
    let documentation = include_str!("../../../docs/operating.md");
    assert!(documentation.contains(&format!("```text\n{}\n```", shown(&screen, 80, 24))));
}

#[test]
fn several_servers_without_gpus() {
    let first = screen(several, 0, &[]);
    insta::assert_snapshot!("several-80x24", shown(&first, 80, 24));
    let hung = screen(several, 0, &[Action::SelectBelow; 3]);
    insta::assert_snapshot!("hung-80x24", shown(&hung, 80, 24));
    let crashed = screen(several, 0, &[Action::SelectBelow; 2]);
    insta::assert_snapshot!("crashed-140x50", shown(&crashed, 140, 50));
    let paused = screen(several, 0, &[Action::SelectBelow, Action::Pause, Action::Help]);
    insta::assert_snapshot!("starting-paused-help-80x24", shown(&paused, 80, 24));
}

#[test]
fn no_server_and_no_look() {
    let none = Screen {
        trouble: Some("permission denied\x1b[2J".to_owned()),
        late: Some(Duration::from_secs(7)),
        ..screen(|_| Vec::new(), 2, &[])
    };
    insta::assert_snapshot!("none-80x24", shown(&none, 80, 24));
    let gone = Screen {
        sought: Some("dsr1-x".to_owned()),
        ..none
    };
    assert!(shown(&gone, 80, 24).contains("\ndsr1-x is not there; dsr1 events dsr1-x says more\n"));
    let first = Top::new(Duration::from_secs(1)).screen(Duration::ZERO);
    assert_eq!(
        shown(&first, 80, 24),
        format!(
            "dsr1 top  looking at the servers  every 1 s{}{}",
            "\n".repeat(23),
            super::draw::KEYS
        )
    );
}

#[test]
fn a_terminal_that_is_too_small_is_told() {
    let screen = screen(several, 8, &[]);
    assert_eq!(
        shown(&screen, 59, 24)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "dsr1 top needs 60 columns and 10 rows; this terminal has 59 and 24. q quits"
    );
    // Of any size, nothing is drawn outside of it.
    for (columns, rows) in [
        (0, 0),
        (1, 1),
        (60, 10),
        (61, 11),
        (80, 12),
        (119, 10),
        (120, 10),
        (300, 100),
    ] {
        for actions in [&[][..], &[Action::Help, Action::SelectBelow]] {
            let screen = self::screen(several, 8, actions);
            shown(&screen, columns, rows);
        }
    }
}

#[test]
fn text_of_servers_moves_no_cursor() {
    let evil = "\x1b[2J\u{202e}\u{9b}31m\nnew\tline";
    let screen = Screen {
        events: vec![event(1, Happening::Crashed, evil)],
        ..screen(
            |_| {
                let mut seen = ended(evil, ServerState::Hung, evil);
                seen.status.profile = evil.to_owned();
                seen.status.base_url = evil.to_owned();
                vec![seen]
            },
            1,
            &[],
        )
    };
    let text = shown(&screen, 140, 50);
    assert!(
        !text
            .chars()
            .any(|char| crate::quote::is_hidden(char) && char != '\n'),
        "{text:?}"
    );
    assert!(text.contains("\\x1b[2J\\u{202e}\\x9b31m"), "{text}");
}

#[test]
fn without_colour_nothing_is_painted() {
    let screen = screen(several, 2, &[]);
    let mut terminal = Terminal::new(TestBackend::new(100, 40)).unwrap();
    terminal
        .draw(|frame| draw_screen(frame, &screen, Paint { color: false }))
        .unwrap();
    let plain = ratatui::style::Style::default();
    for cell in terminal.backend().buffer().content() {
        assert_eq!(
            (cell.fg, cell.bg, cell.modifier),
            (
                ratatui::style::Color::Reset,
                ratatui::style::Color::Reset,
                plain.add_modifier
            )
        );
    }
}
