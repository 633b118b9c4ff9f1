//! Any bytes as a text: what is redacted stays as it is when it is redacted again, has as many lines, and holds neither a known
//! value nor a token after a sign of one; never a panic.

use dsr1::redact::{Names, Redactor, redact_certain};
use dsr1::secret::Secret;

/// A value that dsr1 would use as a secret.
const KNOWN: &str = "kn0wn-Value";
/// A token of the hub.
const TOKEN: &str = "hf_Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1Qq0Pp9Oo";

/// Redacts the input, and the input with secrets in the middle.
pub(crate) fn check_redaction(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let names = Names {
        home: "/home/anna".to_owned(),
        host: "gpu-7.example.org".to_owned(),
        user: "anna".to_owned(),
    };
    let redactor = Redactor::new(&[Secret::new(KNOWN)], &names);
    // A name that is replaced may make a form of a secret, which the next time is replaced, too.
    let nameless = Redactor::new(&[Secret::new(KNOWN)], &Names::default());
    let once = nameless.begin().redact_text(&text);
    assert_eq!(nameless.begin().redact_text(&once), once);
    assert_eq!(once.matches('\n').count(), text.matches('\n').count());
    let certain = redact_certain(&text).into_owned();
    assert_eq!(redact_certain(&certain), certain);
    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at));
    let (before, after) = text.split_at(middle.unwrap_or(0));
    for form in [
        format!("{before} {TOKEN} {after}"),
        format!("{before} {KNOWN} {after}"),
        format!("{before}\nServerArgs(api_key='{KNOWN}', port=1)\n{after}"),
    ] {
        let redacted = redactor.begin().redact_text(&form);
        assert!(
            !redacted.contains(TOKEN) && !redacted.contains(KNOWN),
            "{redacted:?}"
        );
    }
    if let Ok(mut document) = serde_json::from_slice::<serde_json::Value>(bytes) {
        nameless.begin().redact_json(&mut document);
        let once = document.clone();
        nameless.begin().redact_json(&mut document);
        assert_eq!(document, once);
    }
}
