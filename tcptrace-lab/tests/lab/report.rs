//! `tcptrace report`: the page in a real browser, pseudonyms, and damaged recordings.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;
use tcptrace_lab::agent::{Agent, Ended, agent_program};
use tcptrace_lab::client::connect;
use tcptrace_lab::netns::Netns;
use tcptrace_lab::patient::Patient;

/// A name that would be markup.
const HOSTILE: &str = "<b/id=evil>";

/// A recording of a server with a hostile name that leaks.
fn leak() -> Result<Ended> {
    let netns = Netns::new()?;
    let agent = Agent::record(&format!("--netns {} --close-wait-after 2s", netns.inode()))?;
    let patient = Patient::start(&netns, &format!("never-accepted --name {HOSTILE}"))?;
    drop(connect(&netns, patient.address(), 3)?);
    let load = Patient::start(&netns, "load --connections 50 --clients 1")?;
    load.kill();
    agent.await_finding("never_accepted", Duration::from_secs(30), |finding| {
        finding.cause() == "never_accepted" && finding.count() == 3
    })?;
    agent.end(Signal::SIGINT)
}

fn report(paths: &[&Path], options: &str) -> Result<Output> {
    Command::new(agent_program()?)
        .arg("report")
        .args(paths)
        .args(options.split_whitespace())
        .output()
        .context("cannot run tcptrace report")
}

/// What a page has become when its scripts have run.
fn browse(page: &Path, profile: &Path) -> Result<String> {
    let output = Command::new("timeout")
        .args([
            "120",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
        ])
        .args([
            "--allow-file-access-from-files",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .context("cannot run chromium; install it")?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Looks at the page in frames as wide as a desk's screen and a telephone's, and works it.
const VISITOR: &str = r#"<!doctype html><meta charset="utf-8"><body><script>
const widths = [1280, 390], told = [];
const frame = (width) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 2000; frame.src = "page.html";
  frame.onload = () => {
    const page = frame.contentDocument;
    const articles = () => [...page.querySelectorAll("article.finding")];
    const facts = {
      width, overflow: page.documentElement.scrollWidth - width,
      title: page.title, findings: articles().length, charts: page.querySelectorAll("svg[aria-label]").length,
      evil: page.getElementById("evil") !== null, text: articles()[0]?.textContent ?? "",
      requests: frame.contentWindow.performance.getEntriesByType("resource").length,
    };
    const form = page.querySelector(".controls");
    form.words.value = "no such words"; form.dispatchEvent(new Event("input"));
    facts.hidden = articles().filter((a) => a.hidden).length;
    form.words.value = "never_accepted"; form.dispatchEvent(new Event("input"));
    facts.found = articles().filter((a) => !a.hidden).length;
    const button = page.querySelector("table.sortable th button");
    button.click();
    facts.sorted = button.parentNode.getAttribute("aria-sort");
    told.push(facts); done();
  };
  document.body.append(frame);
});
(async () => {
  for (const width of widths) await frame(width);
  const out = document.createElement("pre"); out.id = "told"; out.textContent = JSON.stringify(told);
  document.body.replaceChildren(out);
})();
</script>"#;

#[test]
fn the_page_works_in_a_browser_at_two_widths() -> Result<()> {
    let ended = leak()?;
    let directory = tempfile::tempdir()?;
    let page = directory.path().join("page.html");
    let made = report(
        &[&ended.path()],
        &format!("--format html -o {}", page.display()),
    )?;
    assert!(made.status.success(), "{made:?}");
    let visitor = directory.path().join("visitor.html");
    fs::write(&visitor, VISITOR)?;
    let seen = browse(&visitor, &directory.path().join("profile"))?;
    let told = seen
        .split_once("<pre id=\"told\">")
        .and_then(|(_, rest)| rest.split_once("</pre>"))
        .map(|(json, _)| {
            let plain = json.replace("&lt;", "<").replace("&gt;", ">");
            plain.replace("&quot;", "\"").replace("&amp;", "&")
        })
        .with_context(|| format!("the visitor told nothing: {seen}"))?;
    let told: Value = serde_json::from_str(&told)?;
    for facts in told.as_array().context("a list")? {
        assert!(facts["overflow"].as_i64() <= Some(0), "{facts:#}");
        assert_eq!(facts["findings"], 1, "{facts:#}");
        assert!(facts["charts"].as_u64() >= Some(6), "{facts:#}");
        assert_eq!(facts["evil"], false, "{facts:#}");
        assert_eq!(facts["requests"], 0, "{facts:#}");
        assert_eq!(facts["hidden"], 1, "{facts:#}");
        assert_eq!(facts["found"], 1, "{facts:#}");
        assert_eq!(facts["sorted"], "descending", "{facts:#}");
        let text = facts["text"].as_str().unwrap_or("");
        assert!(text.contains(HOSTILE), "the name is shown as it is: {text}");
        assert!(text.contains("What to do"), "{text}");
    }
    Ok(())
}

#[test]
fn a_report_tells_the_story_and_can_be_shared() -> Result<()> {
    let ended = leak()?;
    let path = ended.path();
    let text = String::from_utf8(report(&[&path], "")?.stdout)?;
    for part in [
        "1 problem was found",
        "never_accepted",
        "CLOSE_WAIT",
        "No event was lost",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let whole: Value = serde_json::from_slice(&report(&[&path], "--format json")?.stdout)?;
    assert_eq!(whole["hosts"][0]["findings"][0]["count"], 3, "{whole:#}");
    let name = whole["hosts"][0]["host"]["name"]
        .as_str()
        .context("a name")?
        .to_owned();

    for format in ["text", "json", "html"] {
        let shared = report(&[&path], &format!("--redact --format {format}"))?;
        let shared = String::from_utf8(shared.stdout)?;
        for secret in [HOSTILE, "&lt;b/id", "tcptrace-patien"] {
            assert!(!shared.contains(secret), "{format}: {secret}");
        }
        assert!(shared.contains("host-1"), "{format}");
        assert!(shared.contains("process-1"), "{format}");
        let told = format!("{name} (Linux");
        assert!(!shared.contains(&told), "{format}: {told}");
    }
    Ok(())
}

#[test]
fn a_damaged_line_is_named_or_passed_over() -> Result<()> {
    let ended = leak()?;
    let mut text = fs::read_to_string(ended.path())?;
    let second = text.find('\n').context("lines")? + 1;
    text.insert_str(second, "{\"type\":\"transition\",\"seq\":\n");
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("damaged.ndjson");
    fs::write(&path, text)?;
    for command in ["report", "replay"] {
        let run = |options: &[&str]| {
            Command::new(agent_program()?)
                .arg(command)
                .arg(&path)
                .args(options)
                .output()
                .context("cannot run tcptrace")
        };
        let strict = run(&[])?;
        assert_eq!(strict.status.code(), Some(1), "{strict:?}");
        let said = String::from_utf8_lossy(&strict.stderr).into_owned();
        assert!(
            said.contains("line 2") && said.contains("--lenient"),
            "{said}"
        );
        let lenient = run(&["--lenient"])?;
        assert_eq!(lenient.status.code(), Some(0), "{lenient:?}");
        let both = format!(
            "{}{}",
            String::from_utf8_lossy(&lenient.stdout),
            String::from_utf8_lossy(&lenient.stderr)
        );
        assert!(both.contains("1 damaged line"), "{both}");
        assert!(both.contains("never_accepted"), "{both}");
    }
    Ok(())
}

/// The examples of docs/recording.md, by the tool that they are for; `cargo xtask examples` tries those
/// of DuckDB and ClickHouse as well.
#[test]
fn the_documents_examples_for_jq_find_something() -> Result<()> {
    const DOCUMENT: &str = include_str!("../../../docs/recording.md");
    let ended = leak()?;
    let directory = tempfile::tempdir()?;
    let here = |name: &str| directory.path().join(name);
    fs::copy(ended.path(), here("out.ndjson"))?;
    let packed = Command::new("zstd")
        .arg("-q")
        .arg(here("out.ndjson"))
        .arg("-o")
        .arg(here("web-20260102T030405Z-0001.ndjson.zst"))
        .status()?;
    assert!(packed.success());
    let (_, section) = DOCUMENT.split_once("## With jq").context("a section")?;
    let section = section.split("\n## ").next().context("an end")?;
    let commands: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    assert!(commands.len() >= 3, "{commands:?}");
    for command in commands {
        let output = Command::new("sh")
            .args(["-ec", command])
            .current_dir(directory.path())
            .output()?;
        assert!(output.status.success(), "{command}: {output:?}");
        assert!(!output.stdout.is_empty(), "{command}: {output:?}");
    }
    Ok(())
}
