//! The parts that all objects of Kubernetes have.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Result;
use crate::profile::to_text;

/// Labels, annotations and selectors.
pub(super) type Labels = BTreeMap<String, String>;

/// An object.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object<B> {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) metadata: Metadata,
    #[serde(flatten)]
    pub(super) body: B,
}

impl<B: Serialize> Object<B> {
    /// Returns the object as a document of YAML, under a comment.
    ///
    /// # Errors
    /// [`crate::error::Kind::Internal`] for a value that has no form in YAML.
    pub(super) fn document(&self, comment: &str) -> Result<String> {
        Ok(format!("---\n# {comment}\n{}", to_text(self)?))
    }
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Metadata {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: Labels,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: Labels,
}

/// A body that is a `spec`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Spec<T> {
    pub(super) spec: T,
}

/// A reference by name.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Named {
    pub(super) name: String,
}
