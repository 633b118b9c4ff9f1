//! Any text as a profile of the user's: it loads and can be planned and written down, or it is refused; never a
//! panic, never a long wait.
#![no_main]

use std::sync::OnceLock;

use dsr1::error::Kind;
use dsr1::facts::Facts;
use dsr1::plan::{self, ExportFormat, ExportRequest, ServeRequest, Target, UpRequest};
use dsr1::profile::Catalog;
use libfuzzer_sys::fuzz_target;

fn facts() -> &'static Facts {
    static FACTS: OnceLock<Facts> = OnceLock::new();
    FACTS.get_or_init(|| serde_json::from_str(include_str!("../../fixtures/facts-b200.json")).expect("facts"))
}

fuzz_target!(|text: &str| {
    let refused = |error: &dsr1::error::Error| {
        assert!([Kind::Usage, Kind::Host].contains(&error.kind()), "{error:?}");
    };
    let catalog = match Catalog::load(Some(("fuzz.yaml", text))) {
        Ok(catalog) => catalog,
        Err(error) => return refused(&error),
    };
    let name = catalog
        .overlay()
        .expect("a profile that was loaded has a name")
        .to_owned();
    let selection = match catalog.select(&name, None, None) {
        Ok(selection) => selection,
        Err(error) => return refused(&error),
    };
    assert_eq!(selection.profile.name, name);
    let serve = ServeRequest {
        profile: selection.profile,
        stack: selection.stack,
        target: Target::Docker,
        name: None,
        port: 30_000,
        base_image: None,
        extra_args: Vec::new(),
    };
    let up = UpRequest {
        serve,
        endpoint: plan::PUBLIC_HUB.to_owned(),
        max_workers: 8,
        keep: true,
    };
    for format in ExportFormat::ALL {
        let request = ExportRequest {
            format,
            up: up.clone(),
            profile_file: Some("fuzz.yaml".to_owned()),
            notes: Vec::new(),
        };
        match plan::export(&request, facts()) {
            Ok(exported) if format != ExportFormat::Bash => {
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
});
