//! The part of the live screen about the selected server.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, RenderDirection, Sparkline, SparklineBar};

use crate::report::{ServerState, ServerStatus};
use crate::top::{Count, Detail, Imbalance, Latencies, Latency, Minute};
use crate::ui::safe;
use crate::ui::top::paint::{Cell, Paint, bar, gauge, number, percent, table};
use crate::ui::wrap::{shortened, wrapped};
use crate::units;

/// Columns of the bar of the KV pool.
const GAUGE: u16 = 20;
/// Columns of the text, beside which the chart has room.
pub(super) const TEXT: u16 = 78;

/// Returns the lines about a server, in this many columns.
pub(super) fn lines(
    server: &ServerStatus,
    detail: Option<&Detail>,
    columns: u16,
    paint: Paint,
) -> Vec<Line<'static>> {
    let mut lines = state_lines(server, detail.is_some(), columns, paint);
    if let Some(detail) = detail {
        lines.extend(load_lines(server, detail, paint));
        lines.extend(latency_lines(detail.minute.as_ref(), paint));
        lines.extend(
            detail
                .imbalance
                .as_ref()
                .map(|found| imbalance_line(found, paint)),
        );
        lines.extend(count_line(detail, paint));
    }
    lines
}

/// Returns the lines about a server that hangs, ended, or has no metrics.
fn state_lines(server: &ServerStatus, has_metrics: bool, columns: u16, paint: Paint) -> Vec<Line<'static>> {
    let name = &server.name;
    let (text, style) = match (server.state, &server.cause) {
        (ServerState::Hung, Some(cause)) => (format!("it hangs: {cause}"), paint.red()),
        (ServerState::Crashed, Some(cause)) => (
            format!("it ended: {cause}; dsr1 diagnose {name} says more"),
            paint.red(),
        ),
        (ServerState::Crashed, None) => (
            format!("it ended; dsr1 logs {name} shows why"),
            paint.red(),
        ),
        _ if has_metrics => return Vec::new(),
        (ServerState::Starting, _) => (
            {
                let stage = server.stage.as_deref().unwrap_or("no stage yet");
                format!("it starts ({stage}); dsr1 logs {name} --follow shows its log")
            },
            paint.dim(),
        ),
        (ServerState::Stopped, _) => (format!("it was stopped; dsr1 restart {name} starts it"), paint.dim()),
        _ => (
            "it has no metrics, or they did not answer: dsr1 passes --enable-metrics unless a profile has metrics: false"
                .to_owned(),
            paint.dim(),
        ),
    };
    // The text of a log may hold anything.
    let text = wrapped(&safe(&text), usize::from(columns.max(1)));
    let lines = text.lines().take(3);
    lines.map(|line| Line::styled(line.to_owned(), style)).collect()
}

/// Returns the rates, and the load with the use of the KV pool.
fn load_lines(server: &ServerStatus, detail: &Detail, paint: Paint) -> Vec<Line<'static>> {
    let rate = |of: Option<f64>, unit: &str| of.map_or_else(|| "-".to_owned(), |rate| number(rate) + unit);
    let rates = detail.rates.as_ref();
    let cached = detail.minute.as_ref().and_then(|minute| minute.cached_share);
    let dim = |name: &str| Cell::left(name).painted(paint.dim());
    let prompt = rate(rates.map(|rates| rates.prompt_tokens), " tokens/s");
    let generated = rate(rates.map(|rates| rates.generated_tokens), " tokens/s");
    let finished = rate(rates.map(|rates| rates.requests), " requests/s");
    let mut lines = table(&[
        vec![
            dim("prompt"),
            Cell::right(&prompt),
            dim("cached"),
            Cell::right(&cached.map_or_else(|| "-".to_owned(), percent)),
        ],
        vec![
            dim("generated"),
            Cell::right(&generated).painted(paint.bold()),
            dim("finished"),
            Cell::right(&finished),
        ],
    ]);
    if let Some(load) = &server.load {
        let style = match load.kv_use {
            0.95.. => paint.red(),
            0.85.. => paint.yellow(),
            _ => paint.green(),
        };
        let waiting = load.unfinished().saturating_sub(load.running);
        lines.push(Line::from(vec![
            Span::styled("load       ", paint.dim()),
            Span::raw(format!("{} running, {waiting} waiting  ", load.running)),
            Span::styled("KV ", paint.dim()),
            Span::styled(gauge(load.kv_use, GAUGE), style),
        ]));
    }
    lines
}

fn latency_lines(minute: Option<&Minute>, paint: Paint) -> Vec<Line<'static>> {
    let heads = ["", "p50", "p90", "p99"].map(|head| Cell::right(head).painted(paint.dim()));
    let mut rows = vec![heads.to_vec()];
    let named = |of: fn(&Minute) -> Latencies| minute.map(of);
    for (name, latencies) in [
        ("TTFT", named(|minute| minute.ttft)),
        ("ITL", named(|minute| minute.itl)),
        ("E2E", named(|minute| minute.e2e)),
    ] {
        let value = |of: fn(Latencies) -> Latency| {
            Cell::right(&latencies.map_or_else(|| "-".to_owned(), |all| latency(of(all))))
        };
        rows.push(vec![
            Cell::left(name).painted(paint.dim()),
            value(|all| all.p50),
            value(|all| all.p90),
            value(|all| all.p99),
        ]);
    }
    let mut lines = table(&rows);
    let span = minute.map_or_else(String::new, |minute| {
        format!("in {}, ", units::duration(minute.span))
    });
    lines[0].push_span(Span::styled(
        format!("{span}by the server's buckets"),
        paint.dim(),
    ));
    lines
}

/// Returns a latency with its unit.
fn latency(latency: Latency) -> String {
    let time = |seconds: f64| match seconds {
        ..0.009_95 => format!("{:.1} ms", seconds * 1000.0),
        ..0.999_5 => format!("{:.0} ms", seconds * 1000.0),
        ..9.995 => format!("{seconds:.2} s"),
        ..99.95 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    };
    match latency {
        Latency::NoValues => "-".to_owned(),
        Latency::About(seconds) => time(seconds),
        Latency::Above(seconds) => format!(">{}", time(seconds)),
    }
}

/// Returns the load of the ranks: the largest over the mean.
fn imbalance_line(found: &Imbalance, paint: Paint) -> Line<'static> {
    let over = |most: f64, mean: f64| {
        if mean > 0.0 {
            format!(" = {:.2}", most / mean)
        } else {
            String::new()
        }
    };
    let most = f64::from(u32::try_from(found.running_max).unwrap_or(u32::MAX));
    let busiest = found.ranks.iter().max_by_key(|rank| rank.running);
    let (kind, busiest) = busiest.map_or(("", ""), |rank| (rank.kind, &rank.rank));
    let text = format!(
        "{} {kind}: running max {} ({kind} {}) / mean {}{}; KV {} / {}{}",
        found.ranks.len(),
        found.running_max,
        shortened(&safe(busiest), 6),
        number(found.running_mean),
        over(most, found.running_mean),
        percent(found.kv_max),
        percent(found.kv_mean),
        over(found.kv_max, found.kv_mean),
    );
    Line::from(vec![Span::styled("ranks  ", paint.dim()), Span::raw(text)])
}

/// Returns a line for each rank: its running requests beside those of the busiest, and the use of its KV pool.
pub(super) fn rank_lines(detail: Option<&Detail>, paint: Paint) -> Vec<Line<'static>> {
    let Some(found) = detail.and_then(|detail| detail.imbalance.as_ref()) else {
        return Vec::new();
    };
    let whole = |running: u64| f64::from(u32::try_from(running).unwrap_or(u32::MAX));
    let most = whole(found.running_max.max(1));
    let heads = ["", "RUN", "", "KV"].map(|head| Cell::left(head).painted(paint.dim()));
    let mut rows = vec![heads.to_vec()];
    rows.extend(found.ranks.iter().map(|rank| {
        vec![
            Cell::left(&format!("  {} {}", rank.kind, shortened(&safe(&rank.rank), 6))),
            Cell::right(&rank.running.to_string()),
            Cell::left(&bar(whole(rank.running) / most, GAUGE)).painted(paint.cyan()),
            Cell::left(&gauge(rank.kv_use, GAUGE)).painted(paint.green()),
        ]
    }));
    table(&rows)
}

/// Returns the counts that a server has, if it has some.
fn count_line(detail: &Detail, paint: Paint) -> Option<Line<'static>> {
    let counted = |count: Option<Count>| {
        count.map(|count| match count.recent {
            0 => (count.total.to_string(), paint.dim()),
            recent => (format!("{} (+{recent})", count.total), paint.yellow()),
        })
    };
    let minute = detail.minute.as_ref();
    let accepted = detail
        .accept_length
        .map(|tokens| (format!("{tokens:.2} tokens a step"), Style::new()));
    let spans: Vec<Span> = [
        ("speculation ", accepted),
        ("retracted ", minute.and_then(|minute| counted(minute.retracted))),
        ("aborted ", minute.and_then(|minute| counted(minute.aborted))),
    ]
    .into_iter()
    .filter_map(|(name, value)| {
        let (text, style) = value?;
        Some([Span::styled(name, paint.dim()), Span::styled(text + "   ", style)])
    })
    .flatten()
    .collect();
    (!spans.is_empty()).then(|| Line::from(spans))
}

/// Draws the chart of generated tokens per second, the newest look at the right, below a line that says its scale.
pub(super) fn draw_chart(frame: &mut Frame<'_>, area: Rect, points: &[Option<f64>], paint: Paint) {
    if area.height < 2 || area.width < 20 {
        return;
    }
    let shown = || points.iter().rev().take(usize::from(area.width));
    let highest = shown().flatten().copied().fold(0.0, f64::max);
    let caption = Rect { height: 1, ..area };
    let text = if area.width < 60 {
        format!("generated tokens/s, up to {}", number(highest))
    } else {
        format!(
            "generated tokens/s at the last {} looks, up to {}",
            shown().count(),
            number(highest)
        )
    };
    frame.render_widget(Paragraph::new(Line::styled(text, paint.dim())), caption);
    let chart = Rect {
        y: area.y + 1,
        height: area.height - 1,
        ..area
    };
    let bars = shown().map(|point| SparklineBar::from(point.map(whole)));
    let sparkline = Sparkline::default()
        .data(bars.collect::<Vec<_>>())
        .max(whole(highest).max(1))
        .direction(RenderDirection::RightToLeft)
        .style(paint.cyan());
    frame.render_widget(sparkline, chart);
}

/// Returns a rate as a height in hundredths, so that small rates differ.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a height of a bar; a rate that is too large is the largest"
)]
fn whole(rate: f64) -> u64 {
    // The chart multiplies it by eight times its rows.
    ((rate * 100.0) as u64).min(u64::MAX >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_have_units() {
        for (of, text) in [
            (Latency::NoValues, "-"),
            (Latency::About(0.0042), "4.2 ms"),
            (Latency::About(0.0421), "42 ms"),
            (Latency::About(0.9999), "1.00 s"),
            (Latency::About(12.34), "12.3 s"),
            (Latency::About(240.0), "240 s"),
            (Latency::Above(400.0), ">400 s"),
        ] {
            assert_eq!(latency(of), text);
        }
    }
}
