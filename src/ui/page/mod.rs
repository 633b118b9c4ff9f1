//! A page of results in HTML: one file that needs no network, no program and no font of its own.
//!
//! | module | subject |
//! |---|---|
//! | `kept` | a result, and the name of its file |
//! | `markup` | text that becomes a part of a page, escaped |
//! | `numbers`, `words` | figures and loads as a reader sees them |
//! | `path`, `scale`, `frame` | outlines, scales and the frame of a plot |
//! | `timeline`, `quantiles`, `pareto` | the plots |
//! | `series` | several runs as curves |
//! | `verdicts` | the trust, first and large |
//! | `figures` | the tables of figures |
//! | `setup` | the server, the load, the client, and the terms of other tools |
//! | `run`, `runs` | the page of one run, and that of several |
//! | `sheet` | results as CSV |
//!
//! A plot is static SVG without a library: classes of the style sheet give it the colours of light, dark and print, and a browser
//! shows its titles beside the pointer. `plotters` (0.3.7) writes colours and sizes as numbers, and no titles.
//!
//! Not in this module tree: the meaning of the figures (`measure`), files (`effects`).

mod figures;
mod frame;
mod kept;
mod markup;
mod numbers;
mod pareto;
mod path;
mod quantiles;
mod run;
mod runs;
mod scale;
mod series;
mod setup;
mod sheet;
mod timeline;
mod verdicts;
mod words;

use markup::Markup;

pub use kept::KeptResult;
pub use sheet::results_sheet;

/// Returns a page of one run, or of several with their plot.
#[must_use]
pub fn results_page(all: &[KeptResult<'_>]) -> String {
    let mut markup = Markup::default();
    // The policy keeps a browser from loading or running anything, whatever a file holds.
    markup.raw(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>",
    );
    match all {
        [one] => markup.text(&format!(
            "{}: a measurement by dsr1",
            one.measurement.server.model
        )),
        _ => markup.text(&format!("{} measurements by dsr1", all.len())),
    }
    markup.raw("</title>\n<style>\n");
    markup.raw(include_str!("style.css"));
    markup.raw("</style>\n</head>\n<body>\n<main>\n");
    match all {
        [one] => run::write_run(&mut markup, one),
        _ => runs::write_runs(&mut markup, all),
    }
    markup.raw(concat!(
        "<footer>Written by dsr1 ",
        env!("CARGO_PKG_VERSION"),
        ".</footer>\n"
    ));
    markup.raw("</main>\n</body>\n</html>\n");
    markup.finish()
}
