//! Empties the tables in which first programs note what they handled for their understudies.

use aya::maps::{Array, Map, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use tcptrace_common::names::{self, PLACES};

use super::Probes;
use crate::kernel::error::KernelError;
use crate::kernel::layout::Resolved;
use crate::kernel::load;

/// A row of the tables of handled events, empty.
type NoEvents = [u64; 2 * PLACES];
const NO_EVENTS: NoEvents = [0; 2 * PLACES];

fn not_emptied(name: &str, detail: String) -> KernelError {
    KernelError::Refused {
        what: format!("empty the map {name}"),
        detail,
    }
}

impl Probes {
    /// What the first programs handled before their understudies were attached stays noted, and would
    /// vouch for another event of a socket that has the same address one day. One that is under way
    /// now is reported twice, and known by that.
    pub(super) fn forget_the_unpaired(&mut self, layout: &Resolved) -> Result<(), KernelError> {
        if layout.may_preempt() {
            let rows = load::tasks(layout);
            self.zero_by_task(names::HANDLED_BY_TASK, rows)?;
            self.zero_by_task(names::ENDED_BY_TASK, rows)
        } else {
            self.zero_by_cpu(names::HANDLED)?;
            self.zero_by_cpu(names::ENDED)
        }
    }

    fn zero_by_cpu(&mut self, name: &'static str) -> Result<(), KernelError> {
        let refused = |detail| not_emptied(name, detail);
        let mut table: PerCpuArray<_, NoEvents> =
            PerCpuArray::try_from(self.map(name)?).map_err(|error| refused(error.to_string()))?;
        let cpus = nr_cpus().map_err(|(file, error)| refused(format!("{file}: {error}")))?;
        let empty = PerCpuValues::try_from(vec![NO_EVENTS; cpus])
            .map_err(|error| refused(error.to_string()))?;
        table
            .set(0, empty, 0)
            .map_err(|error| refused(error.to_string()))
    }

    fn zero_by_task(&mut self, name: &'static str, rows: u32) -> Result<(), KernelError> {
        let refused = |error: MapError| not_emptied(name, error.to_string());
        let mut table: Array<_, NoEvents> = Array::try_from(self.map(name)?).map_err(refused)?;
        (0..rows).try_for_each(|row| table.set(row, NO_EVENTS, 0).map_err(refused))
    }

    fn map(&mut self, name: &'static str) -> Result<&mut Map, KernelError> {
        self.ebpf
            .map_mut(name)
            .ok_or_else(|| not_emptied(name, "the object has no such map".to_owned()))
    }
}
