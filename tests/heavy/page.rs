//! The page of `dsr1 bench report` in a real browser: it fits each width, and the browser has nothing to complain about.

use std::path::Path;
use std::process::Command;

use dsr1::report::Measurement;
use dsr1::ui::{KeptResult, results_page};

const RESULTS: [(&str, &str); 4] = [
    ("trusted.json", include_str!("../fixtures/results/trusted.json")),
    ("doubtful.json", include_str!("../fixtures/results/doubtful.json")),
    (
        "untrusted.json",
        include_str!("../fixtures/results/untrusted.json"),
    ),
    ("nothing.json", include_str!("../fixtures/results/nothing.json")),
];

/// Widths of a desk, a small window and a telephone. A headless Chromium has no window below 500 pixels, so that the narrow ones
/// are frames in a page.
const WIDTHS: [u32; 3] = [1280, 480, 360];

/// Policy of a page, without which the script below runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Opens all parts, and notes the width that the page has and that it needs.
const MEASURE: &str = "<script>\
    for (const part of document.querySelectorAll('details')) part.open = true;\
    const root = document.documentElement;\
    parent.document.title = `has ${innerWidth} needs ${root.scrollWidth}`;\
    </script></body>";

/// Runs Chromium on a page; returns what it prints, and what it logs.
fn browse(page: &Path, options: &[&str]) -> (String, String) {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new("timeout")
        .args([
            "60",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .arg(format!("--user-data-dir={}", home.path().display()))
        .args([
            "--enable-logging=stderr",
            "--window-size=1400,1000",
            "--allow-file-access-from-files",
        ])
        .args(options)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), log)
}

/// Returns the lines of the console in a log of Chromium.
fn console(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("CONSOLE")).collect()
}

/// Returns the width that a page has in a frame of this width, and that it needs.
fn measure(dir: &Path, page: &str, width: u32) -> (u32, u32) {
    let open = page
        .replace(POLICY, "default-src * 'unsafe-inline'")
        .replace("</body>", MEASURE);
    assert!(open.contains("parent.document.title") && !open.contains(POLICY));
    std::fs::write(dir.join("open.html"), open).unwrap();
    let frame =
        format!("<iframe src=\"open.html\" style=\"width: {width}px; height: 900px; border: 0\"></iframe>");
    std::fs::write(
        dir.join("frame.html"),
        format!("<!doctype html><title>none</title>{frame}"),
    )
    .unwrap();
    let (dom, log) = browse(&dir.join("frame.html"), &["--dump-dom"]);
    let title = dom
        .split("<title>")
        .nth(1)
        .and_then(|rest| rest.split("</title>").next())
        .unwrap_or_default();
    let words: Vec<&str> = title.split(' ').collect();
    let [_, has, _, needs] = words[..] else {
        panic!("{title}\n{dom}\n{log}")
    };
    (has.parse().unwrap(), needs.parse().unwrap())
}

/// The pages by name: each result alone, all of them, and results with texts and numbers that are long.
fn pages() -> Vec<(&'static str, String)> {
    let results: Vec<(&str, Measurement)> = RESULTS
        .into_iter()
        .map(|(file, text)| (file, serde_json::from_str(text).unwrap()))
        .collect();
    let page = |results: &[(&'static str, Measurement)]| {
        let kept: Vec<KeptResult<'_>> = results
            .iter()
            .map(|(file, measurement)| KeptResult { file, measurement })
            .collect();
        results_page(&kept)
    };
    let mut pages: Vec<(&str, String)> = results
        .iter()
        .map(|one| (one.0, page(std::slice::from_ref(one))))
        .collect();
    pages.push(("all", page(&results)));
    let long = "deepseek-ai/DeepSeek-R1-0528-NVFP4-".repeat(12);
    let mut strange = results[2].1.clone();
    strange.server.model.clone_from(&long);
    strange.server.base_url = format!("http://{long}:30000");
    strange.server.arguments.insert(long.clone(), long.clone());
    strange
        .requests
        .examples
        .values_mut()
        .for_each(|example| example.clone_from(&long));
    strange.verdicts[0].text.clone_from(&long);
    strange.verdicts[0].about.clone_from(&long);
    let figures = strange.figures.as_mut().unwrap();
    figures.output_throughput = 123_456_789_012.0;
    figures.e2e.max_ms = Some(98_765_432.1);
    figures.answer_ttft = Some(figures.e2e);
    let name: &'static str = Box::leak(format!("{long}.json").into_boxed_str());
    pages.push(("long", page(&[(name, strange.clone())])));
    pages.push(("long ones", page(&[(name, strange), results[0].clone()])));
    pages
}

#[test]
fn a_page_fits_each_width_with_all_its_parts_open() {
    let dir = tempfile::tempdir().unwrap();
    for (name, page) in pages() {
        for width in WIDTHS {
            let (has, needs) = measure(dir.path(), &page, width);
            assert_eq!(has, width, "{name}");
            assert!(needs <= has, "{name}: {needs} pixels in {has}");
        }
    }
    // A planted wide part is found.
    let (_, page) = &pages()[0];
    let wide = page.replace("<footer>", "<div style=\"width: 700px\">wide</div><footer>");
    let (has, needs) = measure(dir.path(), &wide, 480);
    assert!(needs > has, "{needs} in {has}");
}

#[test]
fn a_browser_has_no_complaint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("page.html");
    for (name, page) in pages() {
        std::fs::write(&path, &page).unwrap();
        let (dom, log) = browse(&path, &["--dump-dom"]);
        assert_eq!(console(&log), Vec::<&str>::new(), "{name}");
        assert!(dom.contains("Written by dsr1"), "{name}");
    }
    // A script would not run, and the refusal is found.
    let planted = pages()[0]
        .1
        .replace("</body>", "<script>document.title = 'it ran'</script></body>");
    std::fs::write(&path, planted).unwrap();
    let (dom, log) = browse(&path, &["--dump-dom"]);
    assert!(!dom.contains("<title>it ran"), "{dom}");
    assert_eq!(console(&log).len(), 1, "{log}");
}
