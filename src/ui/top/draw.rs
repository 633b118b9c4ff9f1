//! The live screen in parts, by the size of the terminal.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use crate::facts::Gpu;
use crate::report::ServerStatus;
use crate::top::Screen;
use crate::ui::safe;
use crate::ui::servers::{age, event_line, state};
use crate::ui::top::detail::{self, TEXT, draw_chart};
use crate::ui::top::paint::{Cell, Paint, number, percent, table};
use crate::ui::wrap::shortened;
use crate::units::{self, Bytes, counted};

/// The smallest terminal, in columns and rows.
const LEAST: (u16, u16) = (60, 10);
/// Columns from which the chart is beside the text.
const WIDE: u16 = TEXT + 42;
/// Most characters of a name in a table.
const LONGEST_NAME: usize = 32;
/// Columns below which the names and the states of servers are shorter, and most characters of these.
const NARROW: (u16, usize, usize) = (100, 21, 16);
/// A gigabyte, in bytes.
const GB: u64 = 1_000_000_000;
/// Rows below which two GPUs share a row.
const LOW: u16 = 40;
/// Most rows of the list of ranks; the busiest one is in the line above it in any case.
const MOST_RANKS: u16 = 18;
/// Rows of the chart that a small terminal has, with its caption.
const SMALL_CHART: u16 = 3;
/// Most rows of the chart, with its caption.
const LARGE_CHART: u16 = 9;
/// The keys in a line.
pub(super) const KEYS: &str = "q quit   ↑ ↓ select   p pause   ? help";
/// The keys and the figures.
const HELP: &str = "q, Esc or Ctrl-C quits; ↑ and ↓ or k and j select a server; p pauses and resumes; ? or h hides this help. \
Rates are those of the last 10 seconds. TTFT is the time to the first token, ITL the time between two tokens, E2E the time of a \
request, all of about the last minute: a quantile is interpolated within a bucket of the server's histogram; > means above its \
last bucket, and - that there was none. Retracted and aborted requests are counted from \
the start of the server; (+N) is their part of the last minute.";

/// Draws a screen.
pub(super) fn draw_screen(frame: &mut Frame<'_>, screen: &Screen, paint: Paint) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!(
            "dsr1 top needs {} columns and {} rows; this terminal has {} and {}. q quits",
            LEAST.0, LEAST.1, area.width, area.height
        );
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let help = Paragraph::new(if screen.shows_help { HELP } else { KEYS })
        .style(paint.dim())
        .wrap(Wrap { trim: true });
    let help_rows = if screen.shows_help {
        rows_of(HELP, area.width).min(area.height / 2)
    } else {
        1
    };
    let [head, body, foot] = split(area, [1, area.height - 1 - help_rows, help_rows]);
    frame.render_widget(head_line(screen, paint, area.width), head);
    frame.render_widget(help, foot);
    draw_body(frame, body, screen, paint);
}

/// Returns the rows of a text that is broken between words.
fn rows_of(text: &str, columns: u16) -> u16 {
    let lines = crate::ui::wrap::wrapped(text, usize::from(columns))
        .lines()
        .count();
    u16::try_from(lines).unwrap_or(u16::MAX)
}

/// Cuts an area into parts of these heights, from its top.
fn split<const N: usize>(area: Rect, heights: [u16; N]) -> [Rect; N] {
    let mut top = area.y;
    heights.map(|height| {
        let height = height.min((area.y + area.height).saturating_sub(top));
        let part = Rect {
            y: top,
            height,
            ..area
        };
        top += height;
        part
    })
}

/// Shares rows among parts, each with the least and the most that it can use: first the least of each, then more, in order.
fn share_rows<const N: usize>(mut rows: u16, parts: [(u16, u16); N]) -> [u16; N] {
    let mut given = [0; N];
    for step in [0, 1] {
        for (given, (least, most)) in given.iter_mut().zip(parts) {
            let wanted = if step == 0 { least } else { most };
            let more = wanted.saturating_sub(*given).min(rows);
            *given += more;
            rows -= more;
        }
    }
    given
}

/// The lines of each part, before it is known how many of them have room.
struct Parts {
    servers: Vec<Line<'static>>,
    detail: Vec<Line<'static>>,
    ranks: Vec<Line<'static>>,
    gpus: Vec<Line<'static>>,
    events: Vec<Line<'static>>,
    /// True if the chart is beside the text.
    is_wide: bool,
    /// True if two GPUs share a row.
    has_pairs: bool,
    has_chart: bool,
}

impl Parts {
    fn of(screen: &Screen, body: Rect, paint: Paint) -> Self {
        let is_wide = body.width >= WIDE;
        let columns = if is_wide { TEXT } else { body.width };
        let is_low = body.height < LOW;
        let has_pairs = is_low && screen.gpus.len() > 2;
        let figures = screen.detail.as_ref();
        let selected = screen.servers.get(screen.selected);
        Self {
            servers: server_lines(screen, body.width, paint),
            detail: selected.map_or_else(Vec::new, |server| detail::lines(server, figures, columns, paint)),
            // A low terminal has the line that names the busiest rank.
            ranks: detail::rank_lines(figures.filter(|_| !is_low), paint),
            gpus: if has_pairs {
                gpu_pairs(&screen.gpus, paint)
            } else {
                gpu_lines(&screen.gpus, paint)
            },
            events: screen
                .events
                .iter()
                .map(|event| Line::raw(event_line(event)))
                .collect(),
            is_wide,
            has_pairs,
            has_chart: figures.is_some(),
        }
    }

    /// Returns the rows of the servers, the text about one, the chart below it, the ranks, the GPUs and the events.
    fn heights(&self, rows: u16) -> [u16; 6] {
        let length = |lines: &[Line]| u16::try_from(lines.len()).unwrap_or(u16::MAX);
        // A part with a rule above it takes a row more.
        let ruled = |lines: u16| if lines == 0 { 0 } else { lines.saturating_add(1) };
        let chart = |rows: u16| if self.has_chart && !self.is_wide { rows } else { 0 };
        let servers = length(&self.servers).min(rows / 3);
        let text = ruled(length(&self.detail));
        let (gpus, events) = (length(&self.gpus), length(&self.events));
        let most_events = if self.is_wide { events } else { events.min(10) };
        let [servers, text, gpus, chart_rows, ranks, events, more] = share_rows(
            rows,
            [
                (servers.min(3), servers),
                (text, text),
                (ruled(gpus.min(3)), ruled(gpus)),
                (0, chart(SMALL_CHART)),
                (0, ruled(length(&self.ranks)).min(MOST_RANKS)),
                (ruled(events.min(1)), ruled(most_events)),
                (0, chart(LARGE_CHART - SMALL_CHART)),
            ],
        );
        [servers, text, chart_rows + more, ranks, gpus, events]
    }
}

fn draw_body(frame: &mut Frame<'_>, body: Rect, screen: &Screen, paint: Paint) {
    let parts = Parts::of(screen, body, paint);
    let [servers_at, text_at, chart_at, ranks_at, gpus_at, events_at] =
        split(body, parts.heights(body.height));
    draw_list(frame, servers_at, &parts.servers, screen.selected + 1);
    if let Some(server) = screen.servers.get(screen.selected) {
        let title = format!("{}  {}  {}", server.name, server.profile, server.base_url);
        let inside = draw_rule(frame, text_at, &title, paint);
        let width = if parts.is_wide { TEXT } else { inside.width };
        frame.render_widget(Paragraph::new(parts.detail), Rect { width, ..inside });
        if let Some(detail) = &screen.detail {
            let beside = Rect {
                x: inside.x + TEXT + 2,
                width: inside.width.saturating_sub(TEXT + 2),
                ..inside
            };
            let area = if parts.is_wide { beside } else { chart_at };
            draw_chart(frame, area, &detail.points, paint);
        }
    }
    let inside = draw_rule(frame, ranks_at, "ranks", paint);
    draw_list(frame, inside, &parts.ranks, 0);
    let title = if parts.has_pairs {
        "GPUs (! is slowed by heat or power)"
    } else {
        "GPUs"
    };
    let inside = draw_rule(frame, gpus_at, title, paint);
    draw_list(frame, inside, &parts.gpus, 0);
    let inside = draw_rule(frame, events_at, "events", paint);
    let skipped = parts.events.len().saturating_sub(usize::from(inside.height));
    frame.render_widget(Paragraph::new(parts.events[skipped..].to_vec()), inside);
}

/// Draws a rule with a title, and returns the area below it.
fn draw_rule(frame: &mut Frame<'_>, area: Rect, title: &str, paint: Paint) -> Rect {
    let [rule, inside] = split(area, [1, area.height.saturating_sub(1)]);
    let text = format!("── {} ", safe(title));
    let line = text.clone() + &"─".repeat(usize::from(area.width).saturating_sub(text.chars().count()));
    frame.render_widget(Paragraph::new(Line::styled(line, paint.dim())), rule);
    inside
}

/// Draws a table with its head, and of a longer one the rows around `place`; the last row says how many are not shown.
fn draw_list(frame: &mut Frame<'_>, area: Rect, lines: &[Line<'static>], place: usize) {
    let rows = usize::from(area.height);
    if lines.len() <= rows {
        frame.render_widget(Paragraph::new(lines.to_vec()), area);
        return;
    }
    // The head and the last row are always there.
    let room = rows.saturating_sub(2);
    let skipped = place.saturating_sub(room.max(1)).min(lines.len() - 1 - room);
    let mut shown: Vec<Line> = lines.iter().take(1).cloned().collect();
    shown.extend(lines[1 + skipped..].iter().take(room).cloned());
    shown.push(Line::raw(format!(
        "  {} more: a taller terminal shows them",
        lines.len() - 1 - room
    )));
    frame.render_widget(Paragraph::new(shown), area);
}

fn head_line(screen: &Screen, paint: Paint, columns: u16) -> Paragraph<'static> {
    let mut spans = vec![Span::styled("dsr1 top", paint.bold())];
    if screen.is_first {
        spans.push(Span::raw("  looking at the servers"));
    } else {
        spans.push(Span::raw(format!(
            "  {}",
            counted(screen.servers.len(), "server")
        )));
    }
    if screen.is_paused {
        spans.push(Span::styled("  paused: p resumes", paint.yellow()));
    } else if let Some(late) = screen.late {
        let text = format!("  the last look was {} ago", units::duration(late));
        spans.push(Span::styled(text, paint.yellow()));
    } else {
        let text = format!("  every {} s", screen.every.as_secs());
        spans.push(Span::styled(text, paint.dim()));
    }
    if let Some(trouble) = &screen.trouble {
        let text = format!("  containers were not looked at: {}", safe(trouble));
        spans.push(Span::styled(
            shortened(&text, usize::from(columns)),
            paint.yellow(),
        ));
    }
    Paragraph::new(Line::from(spans))
}

fn server_lines(screen: &Screen, columns: u16, paint: Paint) -> Vec<Line<'static>> {
    if screen.servers.is_empty() {
        let text = match &screen.sought {
            _ if screen.is_first => String::new(),
            Some(name) => format!("{} is not there; dsr1 events {0} says more", safe(name)),
            None => {
                "no servers; dsr1 serve starts one, and processes of other users are not listed".to_owned()
            }
        };
        return vec![Line::raw(text)];
    }
    let heads = ["  NAME", "STATE", "AGE"].map(Cell::left).to_vec();
    let numbers = ["RUN", "WAIT", "TOKENS/S", "KV"].map(Cell::right);
    let heads = [heads, numbers.to_vec()].concat();
    let mut rows = vec![heads.into_iter().map(|cell| cell.painted(paint.dim())).collect()];
    rows.extend(
        screen
            .servers
            .iter()
            .enumerate()
            .map(|(place, server)| server_row(server, place == screen.selected, columns, paint)),
    );
    table(&rows)
}

fn server_row(server: &ServerStatus, is_selected: bool, columns: u16, paint: Paint) -> Vec<Cell> {
    let (limit, of_name, of_state) = NARROW;
    let (of_name, of_state) = if columns < limit {
        (of_name, of_state)
    } else {
        (LONGEST_NAME, LONGEST_NAME)
    };
    let mark = if is_selected { ">" } else { " " };
    let name = Cell::left(&format!("{mark} {}", shortened(&safe(&server.name), of_name)));
    let figures = server.load.as_ref().map_or_else(
        || ["-", "-", "-", "-"].map(str::to_owned),
        |load| {
            [
                load.running.to_string(),
                load.unfinished().saturating_sub(load.running).to_string(),
                number(load.tokens_per_s),
                percent(load.kv_use),
            ]
        },
    );
    let mut row = vec![
        if is_selected {
            name.painted(paint.bold())
        } else {
            name
        },
        Cell::left(&shortened(&state(server), of_state)).painted(paint.state(server.state)),
        Cell::left(&server.age_s.map_or_else(|| "-".to_owned(), age)),
    ];
    row.extend(figures.iter().map(|figure| Cell::right(figure)));
    // At the end, so that the edge of the terminal cuts it; the part below has the whole.
    row.extend(
        server
            .cause
            .as_ref()
            .map(|cause| Cell::left(cause).painted(paint.red())),
    );
    row
}

fn gpu_lines(gpus: &[Gpu], paint: Paint) -> Vec<Line<'static>> {
    if gpus.is_empty() {
        return Vec::new();
    }
    let heads = ["  GPU", "MEMORY", "BUSY", "POWER", "TEMP"];
    let heads = heads.iter().enumerate().map(|(place, head)| {
        let cell = if place == 0 {
            Cell::left(head)
        } else {
            Cell::right(head)
        };
        cell.painted(paint.dim())
    });
    let mut rows: Vec<Vec<Cell>> = vec![heads.collect()];
    rows.extend(gpus.iter().map(|gpu| gpu_row(gpu, paint)));
    table(&rows)
}

/// Returns two GPUs in each line, without their names; a `!` marks one that is slowed.
fn gpu_pairs(gpus: &[Gpu], paint: Paint) -> Vec<Line<'static>> {
    let short = |gpu: &Gpu| {
        let is_slowed = gpu
            .health
            .as_ref()
            .is_some_and(|health| !health.slowdowns.is_empty());
        let index = if is_slowed {
            Cell::left(&format!("{}!", gpu.index)).painted(paint.red())
        } else {
            Cell::left(&gpu.index.to_string())
        };
        let gb = |bytes: u64| (bytes.saturating_add(GB / 2) / GB).to_string();
        let used = gpu.memory_used_bytes.map_or_else(|| "-".to_owned(), gb);
        let mut row = gpu_row(gpu, paint);
        row.truncate(5);
        row[0] = index;
        row[1] = Cell::right(&format!("{used}/{} GB", gb(gpu.memory_bytes)));
        row
    };
    let rows: Vec<Vec<Cell>> = gpus
        .chunks(2)
        .map(|pair| pair.iter().flat_map(short).collect())
        .collect();
    table(&rows)
}

fn gpu_row(gpu: &Gpu, paint: Paint) -> Vec<Cell> {
    let known = |value: Option<u32>, unit: &str| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value} {unit}"))
    };
    let health = gpu.health.as_ref();
    let total = Bytes(gpu.memory_bytes).to_string();
    let used = gpu.memory_used_bytes.map(|used| Bytes(used).to_string());
    let used = match used
        .as_deref()
        .map(|used| used.split_once(' ').unwrap_or((used, "")))
    {
        // One unit is enough if it is the same.
        Some((used, unit)) if total.ends_with(&format!(" {unit}")) => used.to_owned(),
        Some((used, unit)) => format!("{used} {unit}"),
        None => "-".to_owned(),
    };
    let power = health.and_then(|health| health.power_w);
    let limit = health.and_then(|health| health.power_limit_w);
    let power = match (power, limit) {
        (Some(power), Some(limit)) => format!("{power}/{limit} W"),
        (power, _) => known(power, "W"),
    };
    let mut row = vec![
        Cell::left(&format!(
            "  {}  {}",
            gpu.index,
            shortened(&safe(&gpu.name), LONGEST_NAME)
        )),
        Cell::right(&format!("{used}/{total}")),
        Cell::right(&known(health.and_then(|health| health.utilization), "%")),
        Cell::right(&power),
        Cell::right(&known(health.and_then(|health| health.temperature_c), "°C")),
    ];
    let slowdowns = health.map_or(&[][..], |health| &health.slowdowns);
    let is_capped = health.and_then(|health| health.power_capped) == Some(true);
    if is_capped && slowdowns.is_empty() {
        row.push(Cell::left("at its power limit").painted(paint.dim()));
    }
    if !slowdowns.is_empty() {
        let text = format!("slowed: {}", slowdowns.join(", "));
        row.push(Cell::left(&text).painted(paint.red()));
    }
    row
}
