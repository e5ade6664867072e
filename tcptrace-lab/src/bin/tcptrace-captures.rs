//! `tcptrace-captures DOCUMENT...`: makes the pictures in the documents anew. It expects `tcptrace`
//! and `tcptrace-patient` beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let documents: Vec<_> = std::env::args_os().skip(1).map(Into::into).collect();
    match tcptrace_lab::captures::run(&documents) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tcptrace-captures: {error:#}");
            ExitCode::FAILURE
        }
    }
}
