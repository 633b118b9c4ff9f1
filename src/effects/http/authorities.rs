//! The authorities that may have signed the certificate of a server.

use std::path::Path;

use crate::error::{Error, Kind, Result};

/// The variable with a PEM file of authorities.
const IN_PLACE: &str = "SSL_CERT_FILE";

/// The authorities that may have signed the certificate of a server, by the files that name them.
///
/// reqwest 0.13 and dsr1's measuring client verify with `rustls-platform-verifier` 0.7, which takes those of this host from
/// `rustls-native-certs` 0.8: that reads only the file of `SSL_CERT_FILE` if the variable is set, and adds the extra ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::effects) struct Authorities {
    /// The file of `SSL_CERT_FILE`, which is in place of the authorities of this host.
    pub(in crate::effects) in_place: Option<String>,
    /// The file of extra ones, from the first of the variables that name a CA bundle; it may be that of `SSL_CERT_FILE`.
    pub(in crate::effects) extra: Option<String>,
}

impl Authorities {
    /// Returns the authorities of the environment. `extra` is the file of extra ones, and the variables may have `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// [`Kind::Host`] if `SSL_CERT_FILE` names no file: no authority at all would be read.
    pub(in crate::effects) fn new(extra: Option<&str>, variables: &[(String, String)]) -> Result<Self> {
        let in_place = variables.iter().find(|(name, _)| name == IN_PLACE);
        let in_place = in_place.map(|(_, path)| path.clone());
        if let Some(path) = in_place.as_ref().filter(|path| !Path::new(path).is_file()) {
            return Err(Error::new(Kind::Host, format!("{IN_PLACE} names no file: `{path}`"))
                .cause("it is read in place of the authorities of this host, so no certificate would be trusted")
                .hint(format!("correct it, or type: unset {IN_PLACE}")));
        }
        Ok(Self {
            in_place,
            extra: extra.map(str::to_owned),
        })
    }

    /// Returns a sentence that says which authorities are trusted.
    pub(in crate::effects) fn describe(&self) -> String {
        match (&self.in_place, &self.extra) {
            (None, None) => {
                format!("only the authorities of this host are trusted: {IN_PLACE} is not set")
            }
            (None, Some(extra)) => {
                format!("only the authorities of this host and those in {extra} are trusted")
            }
            (Some(path), Some(extra)) if path != extra => format!(
                "only the authorities in {path} ({IN_PLACE}), in place of those of this host, and those in {extra} are trusted"
            ),
            (Some(path), _) => format!(
                "only the authorities in {path} ({IN_PLACE}) are trusted, in place of those of this host"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(path: &str) -> [(String, String); 1] {
        [(IN_PLACE.to_owned(), path.to_owned())]
    }

    #[test]
    fn a_variable_that_names_no_file_is_refused_by_its_name() {
        let error = Authorities::new(None, &variables("/no/such/file.pem")).unwrap_err();
        assert_eq!(error.kind(), Kind::Host);
        assert_eq!(
            error.message(),
            "SSL_CERT_FILE names no file: `/no/such/file.pem`"
        );
        let folder = std::env::temp_dir();
        assert!(Authorities::new(None, &variables(folder.to_str().unwrap())).is_err());
    }

    #[test]
    fn the_file_of_the_variable_is_in_place_of_the_authorities_of_this_host() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let only = Authorities::new(Some(path), &variables(path)).unwrap().describe();
        assert!(only.ends_with("in place of those of this host"), "{only}");
        let both = Authorities::new(Some("/b.pem"), &variables(path))
            .unwrap()
            .describe();
        assert!(
            both.contains("in place of those of this host, and those in /b.pem"),
            "{both}"
        );
        let extra = Authorities::new(Some("/b.pem"), &[]).unwrap().describe();
        assert!(extra.contains("of this host and those in /b.pem"), "{extra}");
        let none = Authorities::new(None, &[]).unwrap().describe();
        assert!(none.ends_with("SSL_CERT_FILE is not set"), "{none}");
    }
}
