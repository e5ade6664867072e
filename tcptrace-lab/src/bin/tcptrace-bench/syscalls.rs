//! What an enabled system call tracepoint costs a process that has nothing to do with TCP: the
//! kernel takes the slow way in and out of *every* system call of the host.

use std::time::Instant;

use anyhow::Result;

use crate::Options;
use crate::observer::{Mode, Observer};
use crate::sheet::{Column, Sheet, column};

const COLUMNS: [Column; 1] = [column("ns per call", 1)];

/// getppid, over and over.
pub(crate) fn measure(options: &Options) -> Result<Sheet> {
    let calls = options.scaled(10_000_000);
    let about = format!(
        "{calls} calls of getppid by one process that opens no socket; medians of {} rounds.",
        options.rounds()
    );
    let mut sheet = Sheet::new("System calls of others", about, &COLUMNS);
    sheet.ratio = Some("ns per call");
    let directory = tempfile::tempdir()?;
    let modes = [
        Mode::Untraced,
        Mode::Record {
            name: "tcptrace record",
            options: &[],
            compressed: false,
        },
        Mode::Record {
            name: "tcptrace record, accepts untraced",
            options: &["--no-accept-syscalls"],
            compressed: false,
        },
    ];
    for round in 0..options.rounds() {
        for mode in &modes {
            eprintln!("bench: round {}, {}", round + 1, mode.name());
            let observer = Observer::start(mode, directory.path())?;
            let begun = Instant::now();
            for _ in 0..calls {
                // SAFETY: getppid has no preconditions. A libc may remember a pid, not a parent's.
                std::hint::black_box(unsafe { libc::getppid() });
            }
            let spent = begun.elapsed();
            observer.end()?;
            sheet.add(
                mode.name(),
                &[("ns per call", spent.as_nanos() as f64 / calls as f64)],
            );
        }
    }
    Ok(sheet)
}
