//! The trust that figures deserve, first and large, and the verdicts that it comes from.

use super::markup::{Markup, Value};
use super::words::{trust_words, verdict_class};
use crate::report::{Measurement, Trust, Verdict};

/// Writes the trust and all verdicts: the worst ones first, and those that speak against nothing together.
pub(super) fn write_verdicts(markup: &mut Markup, measurement: &Measurement) {
    let (word, sentence, class) = trust_words(measurement.trust);
    markup.raw("<section class=\"trust ");
    markup.raw(class);
    markup.raw("\">\n<p class=\"sum\"><strong>");
    markup.raw(word);
    markup.raw("</strong> ");
    markup.raw(sentence);
    markup.raw("</p>\n");
    let mut open: Vec<&Verdict> = measurement
        .verdicts
        .iter()
        .filter(|verdict| verdict.trust != Trust::Trusted)
        .collect();
    open.sort_by_key(|verdict| std::cmp::Reverse(verdict.trust));
    if !open.is_empty() {
        write_list(markup, &open);
    }
    let passed: Vec<&Verdict> = measurement
        .verdicts
        .iter()
        .filter(|verdict| verdict.trust == Trust::Trusted)
        .collect();
    if !passed.is_empty() {
        markup.raw("<details><summary>");
        markup.text(&format!(
            "{} of {} checks passed",
            passed.len(),
            measurement.verdicts.len()
        ));
        markup.raw("</summary>\n");
        write_list(markup, &passed);
        markup.raw("</details>\n");
    }
    if measurement.verdicts.is_empty() {
        markup.raw("<p>The file has no verdicts.</p>\n");
    }
    markup.raw("</section>\n");
}

fn write_list(markup: &mut Markup, verdicts: &[&Verdict]) {
    markup.raw("<ul class=\"verdicts\">\n");
    for verdict in verdicts {
        markup.raw("<li>");
        let word = if verdict.trust == Trust::Unknown {
            "unknown"
        } else {
            verdict.trust.word()
        };
        markup.leaf(
            "span",
            &[("class", Value::Word(verdict_class(verdict.trust)))],
            word,
        );
        markup.leaf("b", &[], &verdict.about);
        markup.open("span", &[]);
        markup.text(&verdict.text);
        if !verdict.hint.is_empty() {
            markup.leaf("span", &[("class", Value::Word("hint"))], &verdict.hint);
        }
        markup.close("span");
        markup.raw("</li>\n");
    }
    markup.raw("</ul>\n");
}
