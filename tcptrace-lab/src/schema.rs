//! The schema that `tcptrace schema` prints, held against every line that the lab makes it write: what
//! an agent leaves behind is checked when it ends, whatever the test was about.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::agent::agent_program;
use crate::recording::{Recording, each_line};

/// One validator for each type of line: they are many, and the schema tries one type after another.
type Validators = BTreeMap<String, Validator>;

fn validators() -> Result<Validators> {
    let output = Command::new(agent_program()?)
        .arg("schema")
        .output()
        .context("cannot run tcptrace schema")?;
    ensure!(
        output.status.success(),
        "tcptrace schema failed: {output:?}"
    );
    let schema: Value = serde_json::from_slice(&output.stdout)?;
    let choices = schema["allOf"].as_array().context("no choices of types")?;
    let of_each = choices.iter().map(|choice| {
        let kind = choice["if"]["properties"]["type"]["const"].as_str();
        let of_one = json!({
            "$schema": schema["$schema"],
            "$ref": choice["then"]["$ref"],
            "$defs": schema["$defs"],
        });
        let validator = jsonschema::validator_for(&of_one)
            .map_err(|error| anyhow!("not a JSON Schema: {error}"))?;
        Ok((
            kind.context("a choice without a type")?.to_owned(),
            validator,
        ))
    });
    of_each.collect()
}

/// The schema itself, as a stranger would use it, agrees with its parts on these lines.
pub fn whole_agrees(recording: &Recording) -> Result<()> {
    let output = Command::new(agent_program()?).arg("schema").output()?;
    let schema: Value = serde_json::from_slice(&output.stdout)?;
    let whole =
        jsonschema::validator_for(&schema).map_err(|error| anyhow!("no JSON Schema: {error}"))?;
    for line in &recording.lines {
        ensure!(whole.is_valid(line), "the whole schema refuses {line}");
    }
    let mut wrong = recording.lines.first().context("no lines")?.clone();
    wrong["seq"] = json!("first");
    ensure!(!whole.is_valid(&wrong), "the whole schema takes anything");
    Ok(())
}

fn line_holds(line: &Value) -> Result<()> {
    static VALIDATORS: OnceLock<Result<Validators>> = OnceLock::new();
    let validators = VALIDATORS
        .get_or_init(validators)
        .as_ref()
        .map_err(|error| anyhow!("{error:#}"))?;
    let kind = line["type"].as_str().context("a line without a type")?;
    let validator = validators
        .get(kind)
        .with_context(|| format!("the schema knows no {kind}: {line}"))?;
    validator
        .validate(line)
        .map_err(|error| anyhow!("{error} at {}: {line}", error.instance_path))
}

/// Whether every line of a recording is as the schema says.
pub fn holds(recording: &Recording) -> Result<()> {
    recording.lines.iter().try_for_each(line_holds)
}

/// The same of every full line of a file, however long.
pub fn holds_in(path: &Path) -> Result<()> {
    each_line(path, |line| {
        let line = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        line_holds(&line)
    })
    .with_context(|| format!("{} is not as the schema says", path.display()))
}
