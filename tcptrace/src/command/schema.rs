//! `tcptrace schema`: the JSON Schema of a recording, for tools that read one.

use std::io::{self, Write as _};

use crate::failure::Failure;
use crate::recording;

/// Prints it.
pub(super) fn run() -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(&recording::schema())?;
    text.push('\n');
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
