//! olsrd2's answers, with and without HTTP head.

#![no_main]

use libfuzzer_sys::fuzz_target;
use olsr_bridge::build::Builder;
use olsr_bridge::cost::CostOptions;
use olsr_bridge::view::{DaemonKind, Protocol};
use olsr_bridge::{http, v2};

fuzz_target!(|input: &[u8]| {
    let mut builder = Builder::new(DaemonKind::Olsrd2, Protocol::Olsrd2Http);
    v2::parse(http::split(input).body, &mut builder);
    let view = builder.finish(&CostOptions::default());
    for route in &view.routes {
        view.resolve(route.destination.address);
    }
});
