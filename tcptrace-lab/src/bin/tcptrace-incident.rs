//! `tcptrace-incident DIRECTORY`: the recordings of an incident, for those who want one to study. It
//! expects `tcptrace` and `tcptrace-patient` beside it.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("tcptrace-incident: name the directory that shall hold the recordings");
        return ExitCode::FAILURE;
    };
    match tcptrace_lab::incident::record(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tcptrace-incident: {error:#}");
            ExitCode::FAILURE
        }
    }
}
