//! `cargo xtask examples`: every worked example of docs/recording.md, run by the tool that it is for,
//! on recordings of an incident that is made for it (`tcptrace_lab::incident`).
//!
//! Invariant: an example that fails, or finds nothing, fails the command; so does a document without
//! examples.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{repository, run_agent, shell};

const DOCUMENT: &str = "docs/recording.md";

/// Runs the statements on standard input and prints what they answer. Of a query that answers nothing
/// it complains.
const DUCKDB: &str = r#"
import duckdb, sys
print("DuckDB", duckdb.__version__)
base = duckdb.connect()
for statement in filter(None, map(str.strip, sys.stdin.read().split(";"))):
    answer = base.execute(statement)
    if "SELECT" in statement and "CREATE VIEW" not in statement:
        names = [column[0] for column in answer.description]
        rows = answer.fetchall()
        print(names, *rows[:5], sep="\n  ")
        assert rows, "it found nothing: " + statement
"#;

/// The same by chDB, which is ClickHouse's engine in a Python package.
const CLICKHOUSE: &str = r#"
import chdb, sys
print("ClickHouse", chdb.query("SELECT version()").bytes().decode().strip(), "in chDB", chdb.__version__)
for statement in filter(None, map(str.strip, sys.stdin.read().split(";"))):
    answer = chdb.query(statement, "TSVWithNames").bytes().decode().splitlines()
    print(*answer[:6], sep="\n  ")
    assert len(answer) > 1, "it found nothing: " + statement
"#;

/// The packages that hold the engines.
const PACKAGES: [&str; 2] = ["duckdb", "chdb"];

/// Where to find recordings.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Use the recordings in this directory, instead of making an incident: `server.ndjson` and
    /// `web-*.ndjson.zst`
    #[arg(long, value_name = "DIRECTORY")]
    recordings: Option<PathBuf>,
}

/// Makes the incident, and tries everything.
pub(crate) fn run(options: &Options) -> Result<()> {
    let text = fs::read_to_string(repository::root().join(DOCUMENT))?;
    let place = repository::target_dir().join("examples");
    let recordings = match &options.recordings {
        Some(directory) => std::path::absolute(directory)?,
        None => incident(&place.join("recordings"))?,
    };
    // The examples call it so.
    let whole = recordings.join("out.ndjson");
    if !whole.exists() {
        fs::hard_link(recordings.join("server.ndjson"), &whole)
            .context("there is no server.ndjson among the recordings")?;
    }
    let jq = commands(&text, "With jq")?;
    let version = shell::output(shell::program("jq").arg("--version"));
    println!("{}", version.context("jq is missing; install jq")?);
    for command in &jq {
        println!("$ {command}");
        let mut sh = shell::program("sh");
        sh.args(["-ec", command]).current_dir(&recordings);
        let answer = shell::output(&mut sh).with_context(|| format!("`{command}` failed"))?;
        ensure!(!answer.is_empty(), "`{command}` found nothing");
        let few: Vec<&str> = answer.lines().take(5).collect();
        println!("{}", few.join("\n"));
    }
    let python = python(&place.join("venv"))?;
    for (heading, program) in [("With DuckDB", DUCKDB), ("With ClickHouse", CLICKHOUSE)] {
        ask(&python, program, &statements(&text, heading)?, &recordings)
            .with_context(|| format!("an example of `{heading}` is wrong"))?;
    }
    println!("every example of {DOCUMENT} works");
    Ok(())
}

fn incident(directory: &Path) -> Result<PathBuf> {
    let sudo = shell::root_prefix("record an incident")?;
    run_agent::build_release()?;
    let mut build = shell::cargo();
    build.args(["build", "--release", "--package", "tcptrace-lab", "--bins"]);
    shell::run(&mut build)?;
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    let program = repository::target_dir().join("release/tcptrace-incident");
    let mut command = match &sudo {
        Some(sudo) => {
            let mut command = shell::program(sudo);
            command.arg("--").arg(&program);
            command
        }
        None => shell::program(&program),
    };
    shell::run(command.arg(directory))?;
    Ok(directory.to_owned())
}

/// A Python with the engines, of its own, so that nothing is installed on the host.
fn python(place: &Path) -> Result<PathBuf> {
    let python = place.join("bin/python");
    if !python.exists() {
        let mut venv = shell::program("python3");
        shell::run(venv.args(["-m", "venv"]).arg(place))
            .context("a virtual environment of Python is needed; install python3-venv")?;
    }
    let mut pip = shell::program(&python);
    shell::run(pip.args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
    Ok(python)
}

fn ask(python: &Path, program: &str, statements: &str, recordings: &Path) -> Result<()> {
    let mut child = Command::new(python)
        .args(["-c", program])
        .current_dir(recordings)
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(statements.as_bytes())?;
    }
    let status = child.wait()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

/// The fences of a language below a heading, until the next heading.
fn fences<'a>(text: &'a str, heading: &str, language: &str) -> Result<Vec<&'a str>> {
    let (_, below) = text
        .split_once(&format!("\n## {heading}\n"))
        .with_context(|| format!("{DOCUMENT} has no `{heading}`"))?;
    let section = below.split("\n## ").next().unwrap_or(below);
    let fences: Vec<&str> = section
        .split(&format!("```{language}\n"))
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    if fences.is_empty() {
        bail!("{DOCUMENT} has no example below `{heading}`");
    }
    Ok(fences)
}

fn commands(text: &str, heading: &str) -> Result<Vec<String>> {
    let fences = fences(text, heading, "console")?;
    let lines = fences.iter().flat_map(|fence| fence.lines());
    Ok(lines
        .filter_map(|line| line.strip_prefix("$ ").map(str::to_owned))
        .collect())
}

fn statements(text: &str, heading: &str) -> Result<String> {
    Ok(fences(text, heading, "sql")?.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_found_below_their_headings() {
        let text = "# x\n\n## With jq\n\nfoo\n\n```console\n$ jq . out\nout\n$ jq 1 out\n```\n\n## With DuckDB\n\n```sql\nSELECT 1;\n```\nand\n```sql\nSELECT 2;\n```\n\n## The file\n\n```sql\nno\n```\n";
        assert_eq!(commands(text, "With jq").unwrap(), ["jq . out", "jq 1 out"]);
        assert_eq!(
            statements(text, "With DuckDB").unwrap(),
            "SELECT 1;\nSELECT 2;\n"
        );
        assert!(statements(text, "With jq").is_err());
        assert!(commands(text, "With awk").is_err());
    }

    #[test]
    fn the_document_has_examples_for_each_tool() {
        let text = fs::read_to_string(repository::root().join(DOCUMENT)).unwrap();
        assert!(commands(&text, "With jq").unwrap().len() >= 3);
        for heading in ["With DuckDB", "With ClickHouse"] {
            assert!(statements(&text, heading).unwrap().matches(';').count() >= 3);
        }
    }
}
