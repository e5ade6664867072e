//! `tcptrace-demo`: the demonstration as a program of its own, so that `cargo xtask demo` can start
//! it through sudo. It expects `tcptrace` and `tcptrace-patient` beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    match tcptrace_lab::demo::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tcptrace-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
