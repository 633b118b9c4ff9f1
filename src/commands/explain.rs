//! `dsr1 explain`: explains an option, a variable or a setting.

use serde::Serialize;

use super::context::Context;
use crate::cli::ExplainArgs;
use crate::error::Result;
use crate::sglang::{Explanation, explain};
use crate::ui;

#[derive(Debug, Serialize)]
struct Explained {
    schema: &'static str,
    #[serde(flatten)]
    explanation: Explanation,
}

/// Runs the command.
pub(super) fn run(context: &Context, args: &ExplainArgs) -> Result<()> {
    let explained = Explained {
        schema: "dsr1.explanation/1",
        explanation: explain(&context.catalog(None)?, &args.name)?,
    };
    context.print(&explained, |explained| ui::explanation(&explained.explanation))
}
