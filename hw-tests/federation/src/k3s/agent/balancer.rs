//! The load balancer of an agent: a port on loopback behind which the server is. With one server it only passes bytes on.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::settings::Settings;

/// Limit for the connection to the server.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens, and passes connections on for as long as this process lives.
pub async fn start(settings: &Settings) -> Result<(), String> {
    let (server, port) = (settings.address()?, settings.balancer_port);
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|e| format!("listening on port {port} for the load balancer: {e}"))?;
    tokio::spawn(async move {
        while let Ok((local, _)) = listener.accept().await {
            tokio::spawn(pass(local, server.clone()));
        }
    });
    Ok(())
}

async fn pass(mut local: TcpStream, server: String) {
    let Ok(Ok(mut remote)) = timeout(DIAL_TIMEOUT, TcpStream::connect(&server)).await else {
        eprintln!("the load balancer cannot reach {server}");
        return;
    };
    // Small messages both ways must not wait for each other; that only makes them slower.
    let _ = (local.set_nodelay(true), remote.set_nodelay(true));
    // The end of either side is the end of both.
    let _ = tokio::io::copy_bidirectional(&mut local, &mut remote).await;
}
