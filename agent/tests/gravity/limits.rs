//! Caps of the tariff.

use crate::broker::Broker;
use crate::command::Command;
use crate::program::{Agent, Start};
use crate::{config, gather, held, noise};

/// The smallest cap that can be set, and what only events may use of it.
const CAP_BYTES: u64 = 1 << 20;
const RESERVE_BYTES: u64 = CAP_BYTES / 10;

/// What was sent before a restart counts after it; events still leave.
#[test]
fn the_bytes_of_a_day_outlast_a_kill() {
    let broker = Broker::open();
    let command = Command::listen(broker.port);
    let settings = config(broker.port, "[delivery]\nbytes_per_day = \"1MiB\"\n");
    let mut agent = Agent::start(&settings);
    agent.until("it is connected", |status| status.mqtt.state.connected && status.spool.open);
    for number in 0..40 {
        gather(agent.folder.path(), "photos", &noise(number, 50_000));
    }
    let spent = |status: &outrider::core::status::Status| status.delivery.day_bytes;
    let status = agent.until("the day's bytes are spent", |status| {
        spent(status) >= CAP_BYTES - RESERVE_BYTES && status.delivery.in_flight == 0
    });
    let before = spent(&status);
    // The last message may go beyond.
    assert!(before <= CAP_BYTES - RESERVE_BYTES + 300_000, "{:?}", status.delivery);
    // What has arrived is known to the spool, and the other way round.
    agent.until("both count the same", |status| {
        held(status, "photos") as usize + command.of("photos").len() == 40
    });
    let arrived = command.of("photos").len();
    assert!((10..40).contains(&arrived), "{arrived} arrived");

    let folder = agent.kill_and_keep();
    let mut agent = Start { folder, ..Start::plain() }.run(&settings);
    let status = agent
        .until("it is connected again", |status| status.mqtt.state.connected && status.spool.open);
    assert!(spent(&status) + CAP_BYTES / 50 >= before, "{:?}", status.delivery);
    gather(agent.folder.path(), "alarm", b"low on fuel");
    command.until("alarm", 1);
    let status = agent.status().unwrap();
    assert_eq!(command.of("photos").len(), arrived);
    assert_eq!(held(&status, "photos") as usize, 40 - arrived);
}
