//! One vocabulary and plain sentences: the rules of `docs/development.md` for words, checked on the sources.

use std::collections::BTreeMap;

use syn::visit::Visit;

/// Names of functions that say nothing without an object.
const BARE_NAMES: [&str; 21] = [
    "alone", "came", "comes_at", "here", "is", "kept", "look", "news", "one", "place", "said", "say", "says",
    "seen", "settled", "take", "tell", "told", "took", "what", "who",
];

/// Parts of names of types that hide what the type is.
const EMPTY_NAMES: [&str; 4] = ["Manager", "Helper", "Util", "Misc"];

/// First words of a documentation comment that make it a riddle: a noun clause without its noun.
const QUESTION_WORDS: [&str; 9] = [
    "How", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why",
];

/// Phrases of a private vocabulary, with the words of the field.
const PHRASES: [(&str, &str); 14] = [
    ("gone on with", "resumed"),
    ("goes on with", "resumes"),
    ("is no matter", "does not matter"),
    ("is meant", "name the thing"),
    ("came of it", "outcome"),
    ("comes of it", "outcome"),
    ("take back", "revoke"),
    ("taken back", "revoked"),
    ("none would come", "say what does not happen"),
    ("wants to be", "needs to be"),
    ("is told apart", "differs"),
    ("are told apart", "differ"),
    ("to be had", "available"),
    ("makes no sense", "say why"),
];

/// Findings in the sources, one line each.
fn findings(sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources {
        if path
            .split('/')
            .any(|part| part.trim_end_matches(".rs") == "engine")
        {
            found.push(format!("{path}: `engine` is SGLang, not a folder of ours"));
        }
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut visitor = Words {
            path,
            found: &mut found,
        };
        visitor.visit_file(&file);
        let mut previous = "";
        for (index, line) in text.lines().map(str::trim).enumerate() {
            let begins = ["///", "//!"]
                .iter()
                .find_map(|mark| line.strip_prefix(mark).filter(|_| !previous.starts_with(mark)));
            let word = begins.and_then(|comment| comment.split_whitespace().next());
            if word.is_some_and(|word| QUESTION_WORDS.contains(&word)) {
                found.push(format!(
                    "{path}:{}: a comment begins with a question word: {line}",
                    index + 1
                ));
            }
            previous = line;
        }
        let lower = text.to_lowercase();
        for (phrase, instead) in PHRASES {
            for (at, _) in lower.match_indices(phrase) {
                let line = lower[..at].lines().count();
                found.push(format!("{path}:{line}: `{phrase}`: write `{instead}`"));
            }
        }
    }
    found
}

struct Words<'a> {
    path: &'a str,
    found: &'a mut Vec<String>,
}

impl Words<'_> {
    fn check_function(&mut self, name: &syn::Ident) {
        let name = name.to_string();
        if BARE_NAMES.contains(&name.as_str()) {
            self.found.push(format!(
                "{}: `fn {name}` has no object: name it by what it does to what",
                self.path
            ));
        }
    }

    fn check_type(&mut self, name: &syn::Ident) {
        let name = name.to_string();
        if name == "Engine" {
            self.found
                .push(format!("{}: `{name}` is SGLang, not a type of ours", self.path));
        }
        if EMPTY_NAMES.iter().any(|part| name.contains(part)) {
            self.found
                .push(format!("{}: `{name}` does not say what it is", self.path));
        }
    }
}

impl<'ast> Visit<'ast> for Words<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check_function(&item.sig.ident);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check_function(&item.sig.ident);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.check_type(&item.ident);
        syn::visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.check_type(&item.ident);
        syn::visit::visit_item_enum(self, item);
    }
}

#[test]
fn the_sources_use_one_vocabulary() {
    let found = findings(&super::texts());
    assert!(
        found.is_empty(),
        "{} findings:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn a_planted_word_is_found() {
    let plant = |path: &str, line: &str| {
        let text = format!("//! A file.\n{line}\n");
        findings(&BTreeMap::from([(path.to_owned(), text)])).len()
    };
    assert_eq!(plant("plan/x.rs", "/// The port.\npub fn port() {}"), 0);
    assert_eq!(plant("engine/x.rs", ""), 1);
    assert_eq!(plant("plan/x.rs", "/// Returns it.\npub fn take() {}"), 1);
    assert_eq!(plant("plan/x.rs", "struct A;\nimpl A { fn told(&self) {} }"), 1);
    assert_eq!(plant("plan/x.rs", "struct PortManager;"), 1);
    assert_eq!(plant("plan/x.rs", "enum Engine { A }"), 1);
    assert_eq!(
        plant("plan/x.rs", "/// Whether it runs.\nconst A: bool = true;"),
        1
    );
    assert_eq!(
        plant("plan/x.rs", "struct A {\n    /// What it is.\n    b: u8,\n}"),
        1
    );
    assert_eq!(plant("plan/x.rs", "enum A {\n    /// How it is.\n    B,\n}"), 1);
    assert_eq!(
        plant("plan/x.rs", "const A: &str = \"the part is gone on with\";"),
        1
    );
}
