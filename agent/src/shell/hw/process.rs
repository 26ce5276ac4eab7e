//! This very process, through sysinfo: processor time, memory, descriptors, threads, writes. Only this process is
//! refreshed, never the list. The root matters only for proportional memory (smaps_rollup, which sysinfo does not
//! know): every procfs shows its reader as `self`.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate};

use crate::core::catalog::hardware as catalog;

use super::Collector;
use super::tree::{Cause, Output, Scale, Tree};

#[derive(Default)]
pub(super) struct Process {
    /// Made by the first run, on the worker's thread.
    system: Option<sysinfo::System>,
}

impl Collector for Process {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        let system = match &mut self.system {
            Some(system) => system,
            None => match sysinfo::System::new() {
                Ok(system) => self.system.insert(system),
                Err(error) => {
                    return output.complain(Cause::Unreadable, format_args!("sysinfo: {error}"));
                }
            },
        };
        let pid = Pid::from_u32(std::process::id());
        let wanted =
            ProcessRefreshKind::nothing().with_cpu().with_memory().with_disk_usage().with_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, wanted);
        match system.process(pid) {
            Some(process) => put(process, output),
            None => output.complain(Cause::Unreadable, format_args!("sysinfo misses this process")),
        }
        let proportional =
            tree.text(format_args!("proc/self/smaps_rollup"), output).and_then(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
                line.trim().strip_suffix(" kB")?.parse::<u32>().ok()
            });
        let proportional = proportional.map(f64::from);
        output.put_scaled(&catalog::PROCESS_PROPORTIONAL, &[], proportional, Scale::KIBI);
    }
}

fn put(process: &sysinfo::Process, output: &mut Output<'_>) {
    // The main thread is not among the tasks.
    let threads = process.tasks().map_or(0, std::collections::HashSet::len) + 1;
    for (metric, value) in [
        (&catalog::PROCESS_RESIDENT, Some(process.memory() as f64)),
        (&catalog::PROCESS_CPU, Some(process.accumulated_cpu_time() as f64 / 1000.0)),
        (&catalog::PROCESS_THREADS, Some(threads as f64)),
        (&catalog::PROCESS_FILES, process.open_files().map(|files| files as f64)),
        (&catalog::PROCESS_WRITTEN, Some(process.disk_usage().total_written_bytes as f64)),
        (&catalog::PROCESS_START, Some(process.start_time() as f64)),
    ] {
        output.put_scaled(metric, &[], value, Scale::ONE);
    }
}
