//! The programs in the kernel: how long each takes, by the kernel's own statistics, and how long it
//! is.

use anyhow::{Context, Result};
use tcptrace_lab::programs::{self, Statistics};

use crate::Options;
use crate::churn;
use crate::observer::{Mode, Observer};
use crate::sheet::{Column, Sheet, column};

const COLUMNS: [Column; 5] = [
    column("ns per run", 0),
    column("runs per connection", 2),
    column("ns per connection", 0),
    column("instructions", 0),
    column("verified", 0),
];

/// The load with statistics on; `agent` are further options of `tcptrace record`.
pub(crate) fn measure(
    options: &Options,
    title: &'static str,
    agent: &'static [&'static str],
) -> Result<Sheet> {
    let connections = options.connections();
    let about = format!(
        "The kernel's own statistics under {connections} short connections, themselves included; \
         medians of {} rounds.",
        options.rounds()
    );
    let mut sheet = Sheet::new(title, about, &COLUMNS);
    let mode = Mode::Record {
        name: "tcptrace record",
        options: agent,
        compressed: false,
    };
    let directory = tempfile::tempdir()?;
    let mut per_transition = Vec::new();
    for round in 0..options.rounds() {
        eprintln!("bench: round {}, programs", round + 1);
        let observer = Observer::start(&mode, directory.path())?;
        let ours = programs::held_by(observer.pid().context("nobody watches")?)?;
        let statistics = Statistics::on()?;
        let before = programs::all()?;
        churn::load(connections)?;
        let after = programs::all()?;
        drop(statistics);
        observer.end()?;
        let mut state = 0;
        for program in after.iter().filter(|program| ours.contains(&program.id)) {
            let (time, runs) = before
                .iter()
                .find(|it| it.id == program.id)
                .map_or((0, 0), |it| (it.run_time_ns, it.run_count));
            let (time, runs) = (program.run_time_ns - time, program.run_count - runs);
            if runs == 0 {
                continue;
            }
            if program.name.contains("state") || program.name.starts_with("understudy") {
                state += time;
            }
            let per = 1.0 / connections as f64;
            sheet.add(
                &program.name,
                &[
                    ("ns per run", time as f64 / runs as f64),
                    ("runs per connection", runs as f64 * per),
                    ("ns per connection", time as f64 * per),
                    ("instructions", f64::from(program.instructions)),
                    ("verified", f64::from(program.verified)),
                ],
            );
        }
        per_transition.push(state as f64 / (connections * churn::TRANSITIONS) as f64);
    }
    per_transition.sort_by(f64::total_cmp);
    let median = per_transition[per_transition.len() / 2];
    sheet.remarks.push(format!(
        "Programs and understudies of state changes together: {median:.0} ns per transition."
    ));
    Ok(sheet)
}
