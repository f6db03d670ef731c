//! The report as a browser shows it: on a phone and on a desk, light and dark. Needs Chromium, and runs with `--full`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, process::Command};

use resmgr_tests::{Agent, run, wait_until};
use serde_json::Value;

/// What the browser is asked about the page: what is wider than it, how large each plot's parts are, and in which colours.
const MEASURE: &str = r#"<script>
const box = (e) => { const b = e.getBoundingClientRect(); return [b.left, b.right, b.width, b.height]; };
const seen = {
  width: innerWidth, scrolls: document.documentElement.scrollWidth,
  ground: getComputedStyle(document.body).backgroundColor, text: getComputedStyle(document.body).color,
  plots: [...document.querySelectorAll("svg")].map((svg) => ({
    box: box(svg),
    lines: [...svg.querySelectorAll("path.line")].map((p) => [p.getAttribute("class"), getComputedStyle(p).stroke, ...box(p)]),
    ticks: [...svg.querySelectorAll("text")].map((t) => [t.textContent, ...box(t)]),
  })),
};
document.documentElement.setAttribute("data-seen", JSON.stringify(seen));
</script>"#;

/// The page as a browser of a width shows it.
fn seen(page: &Path, width: u32, dark: bool) -> Value {
    let folder = tempfile::TempDir::new().unwrap();
    let measured = folder.path().join("page.html");
    let html = fs::read_to_string(page)
        .unwrap()
        .replace("</body>", &format!("{MEASURE}</body>"));
    fs::write(&measured, html).unwrap();
    let output = run(Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-quic",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!dark)))
        .arg(format!("--window-size={width},2000"))
        .arg("--dump-dom")
        .arg(format!("file://{}", measured.display())));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let found = output
        .stdout
        .split("data-seen=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let json = found.unwrap_or_else(|| panic!("nothing was measured: {}", output.stdout));
    serde_json::from_str(&json.replace("&quot;", "\"").replace("&amp;", "&")).unwrap()
}

/// The four numbers of a box, at the end of an array: left, right, width, height.
fn place(of: &Value) -> [f64; 4] {
    let numbers: Vec<f64> = of.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    numbers.try_into().unwrap()
}

#[test]
fn a_report_is_readable_on_a_phone_and_on_a_desk_in_the_light_and_in_the_dark() {
    if std::env::var_os("RESMGR_TEST_FULL").is_none() {
        println!("the browser is asked with --full alone");
        return;
    }
    let folder = Agent::folder();
    let agent = Agent::start(&["--sweep-interval", "100ms"]);
    let mut shown = agent.workload("shown", &["--fds", "50:200", "--mode", "throttle"]);
    for _ in 0..60 {
        shown.order("open 1");
        shown.order(format!("touch {}", 1 << 20));
        shown.order("spin 20");
    }
    wait_until("there is enough to be seen", 60, || agent.remembered("shown") > 130);
    let page = folder.path().join("report.html");
    let reported = run(&mut agent.client(&["report", "shown", "-o", page.to_str().unwrap()]));
    assert_eq!(reported.code, Some(0), "{}", reported.stderr);
    let mut colours = Vec::new();
    for (width, dark) in [(390, false), (1280, true)] {
        let seen = seen(&page, width, dark);
        let inner = seen["width"].as_f64().unwrap();
        assert!(
            seen["scrolls"].as_f64().unwrap() <= inner,
            "nothing is wider than the page: {seen}"
        );
        let plots = seen["plots"].as_array().unwrap();
        assert_eq!(plots.len(), 5);
        for plot in plots {
            let [left, right, width, height] = place(&plot["box"]);
            assert!(
                left >= 0.0 && right <= inner && width > 300.0 && height > 150.0,
                "{plot}"
            );
            let lines = plot["lines"].as_array().unwrap();
            assert!(!lines.is_empty());
            for line in lines {
                let [line_left, line_right, line_width, _] = place(line);
                assert!(line_left >= left && line_right <= right && line_width > 0.0, "{line}");
            }
            for tick in plot["ticks"].as_array().unwrap() {
                let [tick_left, tick_right, _, tick_height] = place(tick);
                // What is smaller cannot be read.
                assert!(
                    tick_left >= left - 1.0 && tick_right <= right + 1.0 && tick_height >= 10.0,
                    "{tick}"
                );
            }
        }
        let of_use = plots[0]["lines"][0][1].as_str().unwrap().to_owned();
        colours.push((seen["ground"].as_str().unwrap().to_owned(), of_use));
    }
    assert_eq!(colours[0].0, "rgb(255, 255, 255)");
    assert!(
        colours[0].0 != colours[1].0 && colours[0].1 != colours[1].1,
        "{colours:?}"
    );
}
