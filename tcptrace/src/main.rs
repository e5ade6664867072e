//! The tcptrace agent. Data flows one way: command -> pump -> {kernel, recording, report, tui}; siblings
//! never import one another.

mod command;
mod failure;
mod gate;
mod kernel;
mod printable;
mod pump;
mod recording;
mod report;
mod tui;

fn main() -> std::process::ExitCode {
    command::main()
}
