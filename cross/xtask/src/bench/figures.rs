//! What `/proc` says of a process.

use std::fs;

/// Clock ticks of `/proc/<pid>/stat` in a second; USER_HZ is 100 on every Linux that this runs on.
const TICKS_PER_SECOND: u64 = 100;

/// One process.
pub struct Figures {
    pub rss_kib: u64,
    pub pss_kib: u64,
    pub peak_kib: u64,
    pub threads: u64,
    pub ticks: u64,
    /// Resident memory after a third of the run.
    pub rss_early_kib: u64,
    /// Thousandths of one processor.
    pub cpu_permille: Option<f64>,
}

impl Figures {
    /// Reads a process as it is now.
    pub fn read(pid: u32) -> Result<Figures, String> {
        let rollup = file(pid, "smaps_rollup")?;
        let status = file(pid, "status")?;
        Ok(Figures {
            rss_kib: number(&rollup, "Rss:")?,
            pss_kib: number(&rollup, "Pss:")?,
            peak_kib: number(&status, "VmHWM:")?,
            threads: number(&status, "Threads:")?,
            ticks: Figures::cpu_ticks(pid)?,
            rss_early_kib: 0,
            cpu_permille: None,
        })
    }

    /// Resident memory now.
    pub fn rss_kib(pid: u32) -> Result<u64, String> {
        number(&file(pid, "smaps_rollup")?, "Rss:")
    }

    /// Bytes that it had written to storage so far, or will have once the kernel gets to it (proc_pid_io(5)).
    pub fn written_bytes(pid: u32) -> Result<u64, String> {
        number(&file(pid, "io")?, "write_bytes:")
    }

    /// Processor time so far, in clock ticks.
    pub fn cpu_ticks(pid: u32) -> Result<u64, String> {
        let stat = file(pid, "stat")?;
        // The name in parentheses may hold anything; what follows it are numbers (proc(5)).
        let (_, rest) = stat.rsplit_once(')').ok_or("an odd /proc/<pid>/stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
        field(11)
            .zip(field(12))
            .map(|(user, system)| user + system)
            .ok_or("an odd /proc/<pid>/stat".to_owned())
    }

    /// Thousandths of a processor since `before`, over `seconds`.
    pub fn permille_since(&self, before: u64, seconds: u64) -> Option<f64> {
        let used = self.ticks.checked_sub(before)?;
        Some(used as f64 * 1000.0 / (seconds.max(1) * TICKS_PER_SECOND) as f64)
    }

    /// Prints one row of the table.
    pub fn row(&self, name: &str) {
        let cpu = self.cpu_permille.map_or("-".to_owned(), |cpu| format!("{:.2} %", cpu / 10.0));
        println!(
            "| {name} | {} KiB | {} KiB | {} KiB | {} | {cpu} |",
            self.rss_kib, self.pss_kib, self.peak_kib, self.threads
        );
    }
}

fn file(pid: u32, name: &str) -> Result<String, String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))
}

fn number(text: &str, key: &str) -> Result<u64, String> {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| format!("no number after `{key}`"))
}
