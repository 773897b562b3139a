//! What is different for one project.

use std::fmt::Display;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{PROJECT_NAME_RULE, is_project_name};

/// A setting of one project, written as `project.name=value`.
#[derive(Debug, Clone)]
pub(super) struct OfProject<S> {
    pub(super) project: String,
    pub(super) setting: S,
}

/// A setting that projects may have. It displays as `name=value`.
pub(super) trait Setting: Display + Sized {
    /// One as it is written.
    const EXAMPLE: &str;

    /// Reads name and value.
    fn parse(name: &str, value: &str) -> Result<Self>;
}

impl<S: Setting> OfProject<S> {
    fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('=').and_then(|(name, value)| Some((name.trim().split_once('.')?, value.trim())));
        let ((project, name), value) = parts.with_context(|| format!("`{text}` is not like {}", S::EXAMPLE))?;
        ensure!(is_project_name(project), "`{text}`: {PROJECT_NAME_RULE}");
        let setting = S::parse(name, value).with_context(|| format!("`{text}`"))?;
        Ok(Self { project: project.to_owned(), setting })
    }
}

impl<'de, S: Setting> Deserialize<'de> for OfProject<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?)
            .map_err(|error| serde::de::Error::custom(format_args!("{error:#}")))
    }
}

impl<S: Setting> Serialize for OfProject<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        serializer.collect_str(&format_args!("{}.{}", self.project, self.setting))
    }
}
