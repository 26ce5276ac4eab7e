//! Serves the status page of a vehicle in a made-up convoy that moves, for work on the page without a mesh:
//! `cargo run --example status_page -- [VEHICLES] [moving|stale|gone|lost]`.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use outrider::shell::http::{self, Answer, Limits, Query};

#[path = "../tests/fixture/mod.rs"]
mod fixture;

/// As the agent itself, so that bookmarks fit.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9695);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let vehicles = arguments.next().map_or(Ok(24), |text| text.parse::<usize>())?;
    let mut convoy = fixture::Convoy::new(vehicles.max(1));
    match arguments.next().as_deref() {
        None | Some("moving") => {}
        Some("stale") => {
            convoy.silence();
            convoy.run(25);
            convoy.lose_broker();
        }
        Some("lost") => {
            convoy.lose(2);
            convoy.lose(7);
            convoy.run(30);
            convoy.hang_thermal();
        }
        Some("gone") => {
            convoy.silence();
            convoy.run(600);
            convoy.lose_broker();
        }
        Some(other) => return Err(format!("no scene is called `{other}`").into()),
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(convoy))
}

async fn serve(mut convoy: fixture::Convoy) -> Result<(), Box<dyn Error>> {
    let listener = http::bind_tcp(LISTEN)?;
    println!("http://{}/", listener.local_addr()?);
    let mut server = http::serve(Some(listener), None, Limits::default());
    let mut seconds = tokio::time::interval(fixture::STEP);
    loop {
        tokio::select! {
            _ = seconds.tick() => {
                convoy.run(1);
                convoy.state.http = server.state();
                server.hub.publish(&convoy.state);
            }
            Some(request) = server.requests.recv() => {
                let answer = match request.query {
                    Query::Read(read) => http::answer(&convoy.state, read),
                    Query::Reload | Query::Aggregated(_) | Query::Wish(_) => {
                        Answer::error(501, "there is no configuration here")
                    }
                };
                // Whoever asked may have left.
                let _ = request.reply.send(answer);
            }
        }
    }
}
