//! The schema that `tcptrace schema` prints, held against every line that the lab makes it write.

use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use jsonschema::Validator;
use serde_json::Value;

use crate::agent::agent_program;
use crate::recording::Recording;

fn validator() -> Result<Validator> {
    let output = Command::new(agent_program()?)
        .arg("schema")
        .output()
        .context("cannot run tcptrace schema")?;
    ensure!(
        output.status.success(),
        "tcptrace schema failed: {output:?}"
    );
    let schema: Value = serde_json::from_slice(&output.stdout)?;
    jsonschema::validator_for(&schema).map_err(|error| anyhow!("not a JSON Schema: {error}"))
}

/// Whether every line of a recording is as the schema says.
pub fn holds(recording: &Recording) -> Result<()> {
    static VALIDATOR: OnceLock<Result<Validator>> = OnceLock::new();
    let validator = VALIDATOR
        .get_or_init(validator)
        .as_ref()
        .map_err(|error| anyhow!("{error:#}"))?;
    for line in &recording.lines {
        if let Err(error) = validator.validate(line) {
            return Err(anyhow!("{} at {}: {line}", error, error.instance_path));
        }
    }
    Ok(())
}
