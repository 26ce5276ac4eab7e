//! Load averages and number of tasks, from /proc/loadavg (proc(5)): `0.52 0.58 0.59 1/389 12345`.

use crate::core::catalog::hardware as catalog;

use super::Collector;
use super::tree::{Cause, Output, Tree};

pub(super) struct Load;

impl Collector for Load {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        let Some(text) = tree.text(format_args!("proc/loadavg"), output) else { return };
        let Some(load) = parse(text) else {
            let what = format_args!("`/proc/loadavg` has {text:?} where five fields belong");
            return output.complain(Cause::Garbage, what);
        };
        output.put(&catalog::LOAD1, &[], load.averages[0]);
        output.put(&catalog::LOAD5, &[], load.averages[1]);
        output.put(&catalog::LOAD15, &[], load.averages[2]);
        output.put(&catalog::TASKS_RUNNABLE, &[], load.runnable);
        output.put(&catalog::TASKS, &[], load.tasks);
    }
}

struct LoadAverage {
    averages: [f64; 3],
    runnable: f64,
    tasks: f64,
}

fn parse(text: &str) -> Option<LoadAverage> {
    let mut fields = text.split_ascii_whitespace();
    let mut average = || fields.next()?.parse().ok().filter(|value: &f64| value.is_finite());
    let averages = [average()?, average()?, average()?];
    let (runnable, tasks) = fields.next()?.split_once('/')?;
    let count = |text: &str| text.parse::<u32>().ok().map(f64::from);
    Some(LoadAverage { averages, runnable: count(runnable)?, tasks: count(tasks)? })
}
