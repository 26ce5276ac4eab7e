//! The requests of a join, each over a connection of its own.

use std::fs;
use std::path::Path;

use hyper::Method;

use super::REQUEST_TIMEOUT;
use super::settings::{Settings, kept, write};
use crate::https::{Answer, Call, Server, Trust};
use crate::k3s::token::{Token, fingerprint};
use crate::k3s::{NODE_IP, NODE_NAME, NODE_PASSWORD};
use crate::pki::{self, Identity};

/// Bytes of a node's password before they are written in hexadecimal.
const PASSWORD_BYTES: usize = 16;

/// What a join brings.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Authorities of servers, in PEM.
    pub server_ca: String,
    /// The node's client certificate.
    pub kubelet: Identity,
}

/// Checks the server's authority against the token, and gives it.
pub async fn validate(address: &str, token: &Token) -> Result<String, String> {
    // A server whose certificate the system's own authorities vouch for would do without the hash. A cluster's never is.
    if cacerts(address, &Trust::Nobody).await.is_ok() {
        return Err(format!("{address} was believed though nobody is trusted"));
    }
    let bundle = cacerts(address, &Trust::Anybody).await?;
    match &token.hash {
        Some(hash) if *hash != fingerprint(&bundle)? => {
            return Err(format!("the authority of {address} does not have the token's hash"));
        }
        Some(_) => {}
        None => eprintln!("the token has no hash: whoever answers is trusted"),
    }
    if cacerts(address, &Trust::Authorities(bundle.clone())).await? != bundle {
        return Err(format!("{address} shows one authority now and another then"));
    }
    Ok(bundle)
}

async fn cacerts(address: &str, trust: &Trust) -> Result<String, String> {
    let server = Server::new(address, trust, None)?;
    let answer = server.call(Call::get("/cacerts"), REQUEST_TIMEOUT).await?;
    Ok(answer.expect(200, "/cacerts")?.text())
}

/// Asks for everything a node needs, from the first request to the last, and writes it down.
pub async fn obtain(settings: &Settings, token: &Token) -> Result<Credentials, String> {
    let folder = settings.agent_folder();
    let etc = folder.join("etc");
    fs::create_dir_all(&etc).map_err(|e| format!("making {}: {e}", etc.display()))?;
    let address = settings.address()?;
    let bundle = validate(&address, token).await?;
    let caller = Caller {
        address,
        trust: Trust::Authorities(bundle),
        own: Identity::read(&folder, "client-kubelet").ok(),
        authorization: token.authorization(),
    };
    caller.ask(Call::get("/v1-k3s/config")).await?;
    let client_ca = caller.ask(Call::get("/v1-k3s/client-ca.crt")).await?.text();
    let server_ca = caller.ask(Call::get("/v1-k3s/server-ca.crt")).await?.text();
    write(&folder.join("client-ca.crt"), &client_ca)?;
    write(&folder.join("server-ca.crt"), &server_ca)?;
    let password = kept("password", PASSWORD_BYTES)?;
    let node = [
        (NODE_NAME, settings.node_name.clone()),
        (NODE_PASSWORD, password),
        (NODE_IP, settings.addresses.join(",")),
    ];
    caller.certificate(&folder, "serving-kubelet", &node).await?;
    let kubelet = caller.certificate(&folder, "client-kubelet", &node).await?;
    caller.certificate(&folder, "client-kube-proxy", &[]).await?;
    caller.certificate(&folder, "client-k3s-controller", &[]).await?;
    for (name, identity) in [
        ("kubelet", "client-kubelet"),
        ("kubeproxy", "client-kube-proxy"),
        ("k3scontroller", "client-k3s-controller"),
    ] {
        let text = kubeconfig(settings.balancer_port, &folder, identity);
        write(&folder.join(format!("{name}.kubeconfig")), &text)?;
    }
    Ok(Credentials { server_ca, kubelet })
}

/// Asks for the addresses of the servers and writes them down for the load balancer.
pub async fn learn_addresses(settings: &Settings, credentials: &Credentials) -> Result<(), String> {
    let trust = Trust::Authorities(credentials.server_ca.clone());
    let server = Server::new(&settings.address()?, &trust, Some(&credentials.kubelet))?;
    // Before its first registration the node's certificate counts for nothing yet.
    let learned = match server.call(Call::get("/v1-k3s/apiservers"), REQUEST_TIMEOUT).await {
        Ok(answer) if answer.status == 200 => answer.json(),
        _ => serde_json::json!([settings.address()?]),
    };
    let state = serde_json::json!({ "ServerURL": settings.server, "ServerAddresses": learned });
    let path = settings.agent_folder().join("etc/k3s-agent-load-balancer.json");
    write(&path, &state.to_string())
}

/// Who asks a supervisor.
struct Caller {
    address: String,
    trust: Trust,
    /// The node's certificate of an earlier join, of this cluster or another.
    own: Option<Identity>,
    authorization: String,
}

impl Caller {
    /// Asks with the node's certificate if there is one, and after a 401, or without one, with the token.
    async fn ask(&self, call: Call) -> Result<Answer, String> {
        let what = call.path.clone();
        let with_token = call.clone().header(AUTHORIZATION_NAME, self.authorization.clone());
        if let Some(own) = &self.own {
            let server = Server::new(&self.address, &self.trust, Some(own))?;
            let answer = server.call(with_token.clone(), REQUEST_TIMEOUT).await?;
            if answer.status != 401 {
                return judged(answer, &what);
            }
            eprintln!("{what}: the node's certificate is not accepted, trying the token");
        }
        let server = Server::new(&self.address, &self.trust, None)?;
        judged(server.call(with_token, REQUEST_TIMEOUT).await?, &what)
    }

    /// Makes a key and has it certified.
    async fn certificate(
        &self,
        folder: &Path,
        name: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Identity, String> {
        let (key, request) = pki::request()?;
        let path = format!("/v1-k3s/{name}.crt");
        let mut call = Call::with(Method::POST, &path, "application/octet-stream", request);
        call.headers.extend(headers.iter().cloned());
        let certificate = self.ask(call).await?.text();
        write(&folder.join(format!("{name}.key")), &key)?;
        write(&folder.join(format!("{name}.crt")), &certificate)?;
        Ok(Identity { certificate, key })
    }
}

/// Name of the header with the token.
const AUTHORIZATION_NAME: &str = "authorization";

fn judged(answer: Answer, what: &str) -> Result<Answer, String> {
    if answer.status == 403 {
        eprintln!(
            "node password rejected: duplicate node name, or the password file has changed \
             ({})",
            answer.text().trim()
        );
    }
    answer.expect(200, what)
}

/// A kubeconfig through the load balancer.
fn kubeconfig(port: u16, folder: &Path, identity: &str) -> String {
    crate::control_plane::kubeconfig(
        &format!("https://127.0.0.1:{port}"),
        &folder.join("server-ca.crt"),
        &folder.join(format!("{identity}.crt")),
        &folder.join(format!("{identity}.key")),
    )
}
