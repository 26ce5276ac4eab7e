//! Renders the metrics of a 100-vehicle view a given number of times, for a profiler to count instructions:
//!
//! ```text
//! cargo build --release --example scrape_cost
//! for n in 1 101; do valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/scrape_cost $n; done
//! ```
//!
//! A hundredth of the difference is one scrape.

use std::error::Error;
use std::hint::black_box;

use outrider::core::exposition::{Format, render};
use outrider::core::status::document;

#[path = "../tests/fixture/mod.rs"]
mod fixture;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds: u32 = arguments.next().ok_or("how many rounds?")?.parse()?;
    let status = arguments.next().is_some_and(|what| what == "status");
    let convoy = fixture::Convoy::new(100);
    let mut bytes = 0;
    for _ in 0..rounds {
        bytes = if status {
            serde_json::to_vec(black_box(&document(&convoy.state)))?.len()
        } else {
            render(black_box(&convoy.state), Format::Prometheus).len()
        };
    }
    println!("{bytes} bytes");
    Ok(())
}
