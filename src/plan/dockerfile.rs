//! Dockerfile.
use std::collections::BTreeMap;

use crate::error::Result;
use crate::profile::Stack;

/// A rendered build context.
pub(super) struct Rendered {
    /// Text of the Dockerfile.
    pub(super) dockerfile: String,
    /// Files beside it: relative path to text.
    pub(super) files: BTreeMap<String, String>,
}

pub(super) fn render(_: &Stack, base: &str, _: bool, _: &BTreeMap<String, String>) -> Result<Rendered> {
    Ok(Rendered { dockerfile: format!("FROM {base}\n"), files: BTreeMap::new() })
}
