//! SGLang's version numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An SGLang version: `0.5.23`, `0.4.10.post2`. Ordered as Python orders them (post releases after their base).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
    post: u16,
}

impl Version {
    /// `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
            post: 0,
        }
    }

    /// The `n`-th post release of this version.
    #[must_use]
    pub const fn post(self, n: u16) -> Self {
        Self { post: n, ..self }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            major,
            minor,
            patch,
            post,
        } = self;
        write!(f, "{major}.{minor}.{patch}")?;
        if *post > 0 {
            write!(f, ".post{post}")
        } else {
            Ok(())
        }
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a version such as 0.5.23 or 0.4.10.post2");
        let mut parts = text.split('.');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or_else(wrong);
        let (major, minor, patch) = (number()?, number()?, number()?);
        let post = match parts.next() {
            None => 0,
            Some(part) => part
                .strip_prefix("post")
                .and_then(|n| n.parse().ok())
                .ok_or_else(wrong)?,
        };
        if parts.next().is_some() {
            Err(wrong())
        } else {
            Ok(Self {
                major,
                minor,
                patch,
                post,
            })
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_round_trip_and_order() {
        for text in ["0.4.10.post1", "0.4.10.post2", "0.5.1", "0.5.23"] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), text);
        }
        assert!("0.4.10".parse::<Version>().unwrap() < "0.4.10.post1".parse().unwrap());
        assert!("0.4.10.post2".parse::<Version>().unwrap() < Version::new(0, 5, 0));
        assert!("0.5".parse::<Version>().is_err());
        assert!("0.5.1.rc1".parse::<Version>().is_err());
    }
}
