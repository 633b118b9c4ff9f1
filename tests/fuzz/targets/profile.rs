//! Any text as a profile of the user's: it loads and can be planned and written down, or it is refused; never a
//! panic, never a long wait.

use std::sync::OnceLock;

use dsr1::error::Kind;
use dsr1::facts::Facts;
use dsr1::plan::{self, ServeRequest, Target, UpRequest};
use dsr1::profile::{Catalog, Criteria};
use dsr1::render::{self, ExportRequest};
use dsr1::sglang::{Launch, migrate};

fn facts() -> &'static Facts {
    static FACTS: OnceLock<Facts> = OnceLock::new();
    FACTS.get_or_init(|| serde_json::from_str(include_str!("../../fixtures/facts-b200.json")).expect("facts"))
}

/// Loads the input as a profile file, then migrates, plans and exports it.
pub(crate) fn check_profile(text: &str) {
    let refused = |error: &dsr1::error::Error| {
        assert!([Kind::Usage, Kind::Host].contains(&error.kind()), "{error:?}");
    };
    let catalog = match Catalog::load(Some(("fuzz.yaml", text))) {
        Ok(catalog) => catalog,
        Err(error) => return refused(&error),
    };
    let name = catalog
        .named()
        .expect("a profile that was loaded has a name")
        .to_owned();
    for stack in ["guide", "cuda12", "current", "cpu"] {
        match catalog
            .resolve(&name, Some(stack))
            .and_then(|found| migrate(text, &found))
        {
            Ok(migration) => {
                // What is migrated still says which profile it is.
                let again = Catalog::load(Some(("again.yaml", &migration.text)));
                assert!(
                    again.is_ok_and(|again| again.named() == Some(&name)),
                    "{}",
                    migration.text
                );
            }
            Err(error) => refused(&error),
        }
    }
    let selection = match catalog.select(&name, &Criteria::default()) {
        Ok(selection) => selection,
        Err(error) => return refused(&error),
    };
    assert_eq!(selection.profile.name, name);
    let launch = Launch::new(&selection.profile, &selection.stack, &selection.origins, &[]);
    for check in launch.checks {
        assert!(!check.to_string().contains('\n'), "{check}");
    }
    let serve = ServeRequest::new(selection, Target::Docker);
    let up = UpRequest {
        serve,
        endpoint: plan::PUBLIC_HUB.to_owned(),
        pull: plan::PullOptions::default(),
        keep: true,
    };
    for format in render::FORMS {
        let request = ExportRequest {
            form: format,
            up: up.clone(),
            profile_file: Some("fuzz.yaml".to_owned()),
            notes: Vec::new(),
            output: None,
        };
        match render::export(&request, facts()) {
            Ok(exported) if format.name() != "bash" => {
                assert!(
                    !exported.text.contains(|c: char| c.is_control() && c != '\n'),
                    "{:?}",
                    exported.text
                );
            }
            Ok(_) => {}
            Err(error) => refused(&error),
        }
    }
}
