//! Sensors that cannot be read or never answer: they are named, everything else goes on.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::program::{Agent, has_event, until};

const CONFIG: &str = "[mesh]\ndaemon = \"none\"\n[http]\nlisten = \"off\"\n[hardware]\n\
     root = \"{folder}/root\"\ndeadline = \"500ms\"\n";

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn hanging_and_unreadable_sensors_hide_nothing_but_themselves() {
    let start = crate::program::Start::plain();
    let root = start.folder.path().join("root");
    write(&root, "proc/meminfo", "MemTotal: 1000 kB\nMemFree: 500 kB\nMemAvailable: 600 kB\n");
    write(&root, "sys/class/thermal/thermal_zone0/type", "stuck\n");
    let sensor = root.join("sys/class/thermal/thermal_zone0/temp");
    mkfifo(&sensor, Mode::S_IRWXU).unwrap();
    // Not even root can read a directory as a file.
    fs::create_dir_all(root.join("proc/loadavg")).unwrap();

    let mut agent = start.run(CONFIG);
    let status = agent.until("both sensors are named", |status| {
        has_event(status, "collector-hangs", "thermal")
            && has_event(status, "collector-failed", "load")
    });
    let collector = |name: &str| status.collectors.iter().find(|c| c.name == name).unwrap();
    assert!(collector("thermal").hanging);
    assert!(
        collector("load").error.as_ref().unwrap().contains("loadavg"),
        "{:?}",
        collector("load")
    );
    assert_eq!(agent.metric("outrider_collector_hanging{collector=\"thermal\"}"), Some(1.0));
    assert_eq!(agent.metric("outrider_collector_success{collector=\"load\"}"), Some(0.0));
    let unhealthy = agent.get("/healthz");
    assert_eq!(unhealthy.code, 503);
    assert!(unhealthy.body.contains("collectors-hanging") && unhealthy.body.contains("thermal"));
    let runs = collector("memory").ok;
    agent.until("the memory was read on", |status| {
        status.collectors.iter().any(|c| c.name == "memory" && c.ok >= runs + 2)
    });

    // Opening a FIFO for writing waits for its reader, which is there. Whoever reads next finds a sensor like others.
    let mut stuck = File::create(&sensor).unwrap();
    let like_others = sensor.with_file_name("next");
    fs::write(&like_others, "41500\n").unwrap();
    fs::rename(like_others, &sensor).unwrap();
    stuck.write_all(b"41500\n").unwrap();
    drop(stuck);
    agent.until("the sensor works again", |status| has_event(status, "collector-works", "thermal"));
    let series = "outrider_thermal_zone_celsius{zone=\"thermal_zone0\",type=\"stuck\"}";
    agent.until("nothing hangs", |status| status.collectors.iter().all(|c| !c.hanging));
    assert_eq!(agent.metric(series), Some(41.5));
    until("it is healthy", || agent.get("/healthz").code == 200);
    let log = agent.stop();
    assert!(log.contains(" WARN ") && log.contains("collector thermal has not come back"), "{log}");
}

#[test]
fn a_sensor_that_hangs_for_ever_does_not_hold_up_the_end() {
    let start = crate::program::Start::plain();
    let root = start.folder.path().join("root");
    fs::create_dir_all(root.join("proc")).unwrap();
    mkfifo(&root.join("proc/meminfo"), Mode::S_IRWXU).unwrap();
    let mut agent: Agent = start.run(CONFIG);
    agent.until("it hangs", |status| status.collectors.iter().any(|collector| collector.hanging));
    agent.stop();
}
