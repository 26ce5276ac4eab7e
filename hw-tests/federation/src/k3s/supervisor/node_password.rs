//! Node passwords: who joins first under a name sets its password, and the Node owns the record of it.
//!
//! The record is a Secret in the real API, `<node>.node-password.k3s` in kube-system, with the key `hash`:
//! `$1:<salt in hex>:15:8:1:<scrypt, 64 bytes, base64 without padding>`. Once the Node exists it owns the Secret, so that the
//! garbage collector takes both. Orphans whose Node never came stay; k3s removes them after ten minutes.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use hyper::{Method, StatusCode};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Refusal, Supervisor};
use crate::https::Call;
use crate::k3s::{PASSWORD_SECRET_SUFFIX, PASSWORD_SECRET_TYPE};
use crate::programs::hex;

/// Version of the record's form.
const FORM: &str = "1";

/// Parameters of scrypt: the binary logarithm of N, r and p.
const SCRYPT: [u32; 3] = [15, 8, 1];

/// Bytes of salt.
const SALT_BYTES: usize = 8;

/// Bytes of the hash.
const HASH_BYTES: usize = 64;

/// How often Secrets without an owner are looked for.
const OWN_EVERY: Duration = Duration::from_millis(500);

/// Where the Secrets are.
const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

impl Supervisor {
    /// Records the password of a node that has none, and refuses another than the recorded one.
    pub(super) async fn ensure_password(&self, node: &str, password: &str) -> Result<(), Refusal> {
        let name = format!("{}{PASSWORD_SECRET_SUFFIX}", node.to_lowercase());
        let path = format!("{SECRETS}/{name}");
        let mut found = self.ask(Call::get(&path)).await?;
        if found.status == 404 {
            let hash = new_hash(password).await.map_err(internal)?;
            let secret = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": { "name": name },
                "type": PASSWORD_SECRET_TYPE,
                "immutable": true,
                "data": { "hash": BASE64_STANDARD.encode(hash) },
            });
            let call = Call::with(Method::POST, SECRETS, "application/json", secret.to_string());
            let made = self.ask(call).await?;
            match made.status {
                201 => return Ok(()),
                // Another request of the same node was quicker.
                409 => found = self.ask(Call::get(&path)).await?,
                _ => return Err(internal(format!("recording a node password: {}", made.text()))),
            }
        }
        let recorded = found.json()["data"]["hash"].as_str().map(str::to_owned).unwrap_or_default();
        let recorded = BASE64_STANDARD.decode(recorded).unwrap_or_default();
        let recorded = String::from_utf8_lossy(&recorded).into_owned();
        if matches(&recorded, password).await.map_err(internal)? {
            return Ok(());
        }
        let text = format!("another password was recorded for node {node}");
        Err(Refusal(StatusCode::FORBIDDEN, text))
    }
}

fn internal(text: String) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, text)
}

async fn new_hash(password: &str) -> Result<String, String> {
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new().fill(&mut salt).map_err(|_| "there is no randomness".to_owned())?;
    let salt = hex(&salt);
    let hash = scrypt(password, &salt, SCRYPT).await?;
    let [n, r, p] = SCRYPT;
    Ok(format!("${FORM}:{salt}:{n}:{r}:{p}:{}", BASE64_STANDARD_NO_PAD.encode(hash)))
}

/// Whether `record` is of this password. One that cannot be read matches nothing.
async fn matches(record: &str, password: &str) -> Result<bool, String> {
    let parts: Vec<&str> = record.split(':').collect();
    let [form, salt, n, r, p, hash] = parts[..] else { return Ok(false) };
    let numbers = [n, r, p].map(|number| number.parse().unwrap_or(0));
    if form.strip_prefix('$') != Some(FORM) || numbers.contains(&0) {
        return Ok(false);
    }
    let wanted = BASE64_STANDARD_NO_PAD.decode(hash).unwrap_or_default();
    Ok(scrypt(password, salt, numbers).await? == wanted)
}

/// scrypt as OpenSSL computes it; no crate for it is in the tree, and this runs a few times per test.
async fn scrypt(password: &str, salt: &str, [n, r, p]: [u32; 3]) -> Result<Vec<u8>, String> {
    let rounds = 1_u64.checked_shl(n).ok_or("N of scrypt is too large")?;
    let options = [
        format!("pass:{password}"),
        format!("hexsalt:{salt}"),
        format!("n:{rounds}"),
        format!("r:{r}"),
        format!("p:{p}"),
    ];
    let mut command = Command::new("openssl");
    command.args(["kdf", "-binary", "-keylen", &HASH_BYTES.to_string()]);
    for option in &options {
        command.args(["-kdfopt", option]);
    }
    let output = command
        .arg("SCRYPT")
        .output()
        .await
        .map_err(|e| format!("starting openssl for scrypt: {e}"))?;
    if output.status.success() && output.stdout.len() == HASH_BYTES {
        return Ok(output.stdout);
    }
    Err(format!("openssl computes no scrypt: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Makes Nodes the owners of their Secrets, for ever.
pub async fn own_secrets(supervisor: Arc<Supervisor>) {
    let list =
        format!("{SECRETS}?fieldSelector=type%3D{}", PASSWORD_SECRET_TYPE.replace('/', "%2F"));
    loop {
        tokio::time::sleep(OWN_EVERY).await;
        let Ok(answer) = supervisor.ask(Call::get(&list)).await else { continue };
        for secret in answer.json()["items"].as_array().into_iter().flatten() {
            if secret["metadata"]["ownerReferences"].is_null() {
                own(&supervisor, secret).await;
            }
        }
    }
}

/// Makes the Node of a Secret its owner, if there is one. Failures wait for the next round.
async fn own(supervisor: &Supervisor, secret: &Value) {
    let Some(name) = secret["metadata"]["name"].as_str() else { return };
    let Some(node) = name.strip_suffix(PASSWORD_SECRET_SUFFIX) else { return };
    let Ok(answer) = supervisor.ask(Call::get(&format!("/api/v1/nodes/{node}"))).await else {
        return;
    };
    if answer.status != 200 {
        return;
    }
    let owner = json!([{
        "apiVersion": "v1",
        "kind": "Node",
        "name": node,
        "uid": answer.json()["metadata"]["uid"],
    }]);
    let patch = json!({ "metadata": { "ownerReferences": owner } }).to_string();
    let path = format!("{SECRETS}/{name}");
    let call = Call::with(Method::PATCH, &path, "application/merge-patch+json", patch);
    match supervisor.ask(call).await {
        Ok(answer) if answer.status == 200 => {}
        other => eprintln!("giving {name} its owner: {other:?}"),
    }
}
