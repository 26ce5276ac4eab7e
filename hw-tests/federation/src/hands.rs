//! The agent's hands as a program, so that tests can use them on a vehicle and cut them off: does one thing and prints what came
//! of it.
//!
//!     hands unit | start | restart | stop | equipped
//!     hands equip FEDERATION SERVER TOKEN HASH [NODE [ADDRESS]]
//!     hands strip FEDERATION
//!     hands clean-up [INTERFACE|ADDRESS]...
//!
//! It ends with 0 when that is done, and with 1 when not.

use std::process::ExitCode;

use outrider::core::membership::{CaHash, Outcome, Server, Token};
use outrider::shell::federation::hands::{Equipment, Hands, NeverTouch, Settings};

/// Where k3s has its data unless told otherwise.
const DATA: &str = "/var/lib/rancher/k3s";

/// Where the vehicles of the rig keep what is a federation's.
const KEEP: &str = "/var/lib/outrider/federations";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .map_err(|error| format!("starting a runtime: {error}"))
        .and_then(|runtime| runtime.block_on(act(&words)));
    match done {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(other) => {
            println!("{other:?}");
            ExitCode::FAILURE
        }
        Err(text) => {
            eprintln!("hands: {text}");
            ExitCode::FAILURE
        }
    }
}

async fn act(words: &[&str]) -> Result<Outcome, String> {
    let hands = Hands::new(Settings {
        manager: None,
        unit: None,
        data_folder: DATA.into(),
        keep: KEEP.into(),
    });
    Ok(match words {
        ["unit"] => {
            println!("{:?}", hands.unit().await?);
            Outcome::Done
        }
        ["start"] => hands.start().await,
        ["restart"] => hands.restart().await,
        ["stop"] => hands.stop().await,
        ["equipped"] => {
            println!("{}", hands.equipped().unwrap_or_default());
            Outcome::Done
        }
        ["equip", federation, server, token, hash, more @ ..] => {
            let equipment = Equipment {
                federation: (*federation).to_owned(),
                server: Server::parse(server)?,
                token: Token::parse(token).map_err(|error| error.to_string())?,
                ca: CaHash::parse(hash).ok_or("64 hexadecimal digits make a hash")?,
                node_name: more.first().map_or("veh-by-hand", |name| name).to_owned(),
                node_ip: more.get(1).and_then(|address| address.parse().ok()).into_iter().collect(),
                flannel_iface: None,
                labels: vec!["example.org/radio=on".to_owned()],
                taints: Vec::new(),
            };
            hands.equip(equipment).await
        }
        ["strip", federation] => hands.strip(federation).await,
        ["clean-up", never @ ..] => {
            let mut list = NeverTouch::default();
            for word in never {
                match word.parse() {
                    Ok(address) => drop(list.addresses.insert(address)),
                    Err(_) => drop(list.interfaces.insert((*word).to_owned())),
                }
            }
            let done = hands.clean_up(&list).await;
            done.left.iter().for_each(|what| println!("left: {what}"));
            done.outcome
        }
        _ => return Err(format!("`{}` is nothing that hands do", words.join(" "))),
    })
}
