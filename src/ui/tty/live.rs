//! The live line of the running step: one line, and a bar below it while bytes are counted.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::event::{FileState, Stage};
use crate::ui::rate::{self, Rate, clock};
use crate::ui::style::Style;
use crate::ui::table::{pad, width};
use crate::ui::wrap::{shortened, shortened_inside};
use crate::units::{self, Bytes};

/// Time between two redraws: a few in a second show that the step runs.
const TICK: Duration = Duration::from_millis(120);

/// Width of the longest title, so that clock and message fit beside it.
const TITLE: usize = 48;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Templates: a line; a line and a bar; a file of a pull, below the bar. Each fits on the terminal: what has no room is left
/// out, or shortened with a sign.
const LINE: &str = "{spinner} {line}";
const BAR: &str = "{spinner} {line}\n  {bar:20}  {figures}";
const FILE: &str = "    {file}";

/// Columns before the figures of a bar.
const BEFORE_FIGURES: usize = 2 + 20 + 2;
/// Most columns for the name of a file.
const WIDEST: usize = 120;
/// Least columns for a message; with less there is none.
const LEAST: usize = 8;

/// Files that are shown at once.
const FILES: usize = 8;

/// The running step on the screen.
pub(super) struct Live {
    bar: ProgressBar,
    style: Style,
    columns: Columns,
    title: String,
    form: Form,
    files: Vec<FileLine>,
    /// The running stage of the engine's start, the time at which it began, and its detail.
    stage: Option<(Stage, u64, String)>,
    rate: Rate,
    shown: Shared,
}

/// The columns of the terminal, asked for at each drawing, because they change.
#[derive(Clone, Copy)]
pub(super) struct Columns(pub(super) Option<usize>);

impl Columns {
    /// Returns the number of columns; the largest number without a terminal.
    pub(super) fn get(self) -> usize {
        let of_terminal = || {
            let (width, _) = terminal_size::terminal_size_of(std::io::stderr())?;
            Some(usize::from(width.0))
        };
        self.0.or_else(of_terminal).unwrap_or(usize::MAX)
    }
}

/// The form of the running step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Clock and message.
    Line,
    /// Bytes whose total is not known.
    Count,
    /// Bytes whose total is known.
    Bar,
}

/// A file of a pull on the screen.
struct FileLine {
    path: String,
    bar: ProgressBar,
    rate: Rate,
    shown: Shared,
}

/// The texts of a template, without colours.
#[derive(Default)]
struct Shown {
    number: String,
    title: String,
    message: String,
    /// Bytes a second; 0 while unknown.
    speed: u64,
    has_count: bool,
}

/// The text of a template, which a thread draws.
type Shared = Arc<Mutex<Shown>>;

impl Live {
    /// Draws the step. The caller makes `title` safe to show.
    pub(super) fn new(
        bars: &MultiProgress,
        (style, columns): (Style, Columns),
        number: &str,
        title: &str,
        animate: bool,
    ) -> Self {
        let bar = bars.add(ProgressBar::no_length());
        let live = Self {
            bar,
            style,
            columns,
            title: title.to_owned(),
            form: Form::Line,
            files: Vec::new(),
            stage: None,
            rate: Rate::default(),
            shown: Arc::new(Mutex::new(Shown {
                number: number.to_owned(),
                ..Shown::default()
            })),
        };
        live.bar.set_style(template(LINE, style, columns, &live.shown));
        live.set_title("");
        if animate {
            live.bar.enable_steady_tick(TICK);
        }
        live.bar.tick();
        live
    }

    /// Returns the title.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Returns the time since the step began.
    pub(super) fn elapsed(&self) -> String {
        units::duration(self.bar.elapsed())
    }

    /// Shows a stage that begins `at_ms` after the step. The caller makes `detail` safe to show. Returns the stage that
    /// ended, its duration in milliseconds, and its detail.
    pub(super) fn stage(&mut self, stage: Stage, at_ms: u64, detail: &str) -> Option<(Stage, u64, String)> {
        self.set_title(stage.title());
        self.message("");
        let ended = self.stage.replace((stage, at_ms, detail.to_owned()));
        ended.map(|(stage, began, detail)| (stage, at_ms.saturating_sub(began), detail))
    }

    /// Shows a message, dimmed. The caller makes `text` safe to show.
    pub(super) fn message(&self, text: &str) {
        text.trim().clone_into(&mut lock(&self.shown).message);
        self.bar.tick();
    }

    /// Shows work that has no bytes, in place of the bytes of the work before it. The caller makes `text` safe to show.
    pub(super) fn activity(&mut self, text: &str) {
        self.set_form(Form::Line);
        self.message(text);
    }

    /// Shows bytes, as a bar if their total is known; the rate is that of `fetched`.
    pub(super) fn progress(&mut self, done: u64, total: Option<u64>, fetched: u64, item: &str) {
        self.set_form(if total.is_some() { Form::Bar } else { Form::Count });
        let speed = self.rate.record(self.bar.elapsed(), fetched);
        lock(&self.shown).speed = speed.unwrap_or(0);
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
        self.message(item);
    }

    fn set_form(&mut self, form: Form) {
        if self.form != form {
            self.form = form;
            lock(&self.shown).has_count = form == Form::Count;
            let text = if form == Form::Bar { BAR } else { LINE };
            self.bar
                .set_style(template(text, self.style, self.columns, &self.shown));
        }
    }

    /// Shows a file of the step while it is fetched. The caller makes `path` safe to show.
    pub(super) fn file(
        &mut self,
        bars: &MultiProgress,
        path: &str,
        (done, total): (u64, u64),
        state: FileState,
        retries: u32,
    ) {
        let known = self.files.iter().position(|file| file.path == path);
        if state == FileState::Proven {
            if let Some(known) = known {
                let FileLine { bar, .. } = self.files.remove(known);
                bar.finish_and_clear();
                bars.remove(&bar);
            }
            return;
        }
        let known = match known {
            Some(known) => known,
            None if self.files.len() < FILES => {
                let bar = bars.add(ProgressBar::new(total));
                let shown = Shared::default();
                bar.set_style(template(FILE, self.style, self.columns, &shown));
                self.files.push(FileLine {
                    path: path.to_owned(),
                    bar,
                    rate: Rate::default(),
                    shown,
                });
                self.files.len() - 1
            }
            None => return,
        };
        let mut message = path.to_owned();
        match state {
            FileState::Checking => message.push_str(": checking local data"),
            FileState::Waiting => message.push_str(": waiting"),
            FileState::Fetching | FileState::Proven => {}
        }
        if retries > 0 {
            let _ = write!(message, ", retries: {retries}");
        }
        let FileLine { bar, rate, shown, .. } = &mut self.files[known];
        let speed = rate.record(bar.elapsed(), done).unwrap_or(0);
        {
            let mut shown = lock(shown);
            shown.message = message;
            shown.speed = speed;
        }
        bar.set_position(done);
        bar.tick();
    }

    /// Removes the step from the screen.
    pub(super) fn clear(&self, bars: &MultiProgress) {
        for FileLine { bar, .. } in &self.files {
            bar.finish_and_clear();
            bars.remove(bar);
        }
        self.bar.finish_and_clear();
        bars.remove(&self.bar);
    }

    /// Shows title and stage.
    fn set_title(&self, stage: &str) {
        let mut title = shortened(&self.title, TITLE);
        if !stage.is_empty() {
            title = format!("{title}: {stage}");
        }
        lock(&self.shown).title = title;
    }
}

fn lock(shown: &Shared) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the style of a template. The test below finds a mistake in a template before a user does.
fn template(text: &str, style: Style, columns: Columns, shown: &Shared) -> ProgressStyle {
    let spinner: Vec<String> = SPINNER.iter().map(|frame| style.cyan(frame)).collect();
    let spinner: Vec<&str> = spinner.iter().map(String::as_str).collect();
    let key = |write: fn(&Shown, &ProgressState, Style, usize) -> String| {
        let shown = Arc::clone(shown);
        move |state: &ProgressState, out: &mut dyn Write| {
            let _ = out.write_str(&write(&lock(&shown), state, style, columns.get()));
        }
    };
    ProgressStyle::with_template(text)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_strings(&spinner)
        .progress_chars("━╸ ")
        .with_key("line", key(line))
        .with_key("figures", key(figures))
        .with_key("file", key(file))
}

/// Returns number, title, clock, bytes if they are counted, and the message, as far as they fit behind the spinner.
fn line(shown: &Shown, state: &ProgressState, style: Style, columns: usize) -> String {
    let mut figures = vec![clock(state.elapsed())];
    figures.extend(shown.has_count.then(|| Bytes(state.pos()).to_string()));
    let room = columns.saturating_sub(2 + width(&shown.number) + 1);
    let of_figures: usize = figures.iter().map(|figure| 2 + width(figure)).sum();
    let title = shortened(&shown.title, room.saturating_sub(of_figures));
    let left = room.saturating_sub(width(&title) + of_figures + 2);
    figures[0] = style.dim(&figures[0]);
    if left >= LEAST {
        figures.push(style.dim(&shortened(&shown.message, left)));
    }
    format!("{} {title}  {}", style.dim(&shown.number), figures.join("  "))
}

/// Returns the figures of a bar, as far as they fit behind it.
fn figures(shown: &Shown, state: &ProgressState, _: Style, columns: usize) -> String {
    let mut figures = figures_of(shown, state);
    let left = rate::time_left(state.pos(), state.len(), Some(shown.speed));
    figures.extend(left.map(|left| format!("{} left", clock(left))));
    while figures.join("  ").chars().count() > columns.saturating_sub(BEFORE_FIGURES) && figures.len() > 1 {
        figures.pop();
    }
    figures.join("  ")
}

/// Returns a file of a pull with its bytes; the begin and the end of a long name are kept.
fn file(shown: &Shown, state: &ProgressState, style: Style, columns: usize) -> String {
    let figures = figures_of(shown, state).join("  ");
    let room = columns.saturating_sub(4 + 2 + width(&figures)).min(WIDEST);
    let name = pad(&shortened_inside(&shown.message, room), room);
    format!("{}  {figures}", style.dim(&name))
}

/// Returns share and bytes, and the speed if it is known.
fn figures_of(shown: &Shown, state: &ProgressState) -> Vec<String> {
    let mut figures = vec![percent(state), amount(state)];
    if shown.speed > 0 {
        figures.push(format!("{}/s", Bytes(shown.speed)));
    }
    figures
}

fn percent(state: &ProgressState) -> String {
    let of = state.len().filter(|of| *of > 0);
    let percent = of.map_or(100, |of| u128::from(state.pos().min(of)) * 100 / u128::from(of));
    format!("{percent:>3} %")
}

fn amount(state: &ProgressState) -> String {
    let total = state.len();
    let of = total.map_or_else(String::new, |total| format!(" of {}", Bytes(total)));
    format!("{}{of}", Bytes(state.pos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_parse() {
        for text in [LINE, BAR, FILE] {
            ProgressStyle::with_template(text).unwrap();
        }
    }
}
