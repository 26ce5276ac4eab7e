//! Who is asking? What can be read depends on it.

use nix::unistd::{Uid, User};

use super::{Check, Context, Finding};

pub(super) const CHECK: Check = Check {
    id: "user",
    title: "User",
    reason: "what the agent can read depends on its user",
    needs_config: false,
    run,
};

fn run(_: &Context) -> Vec<Finding> {
    let uid = Uid::effective();
    if uid.is_root() {
        return Finding::ok("root: what follows holds for an agent that runs as root");
    }
    // No entry in the user database is normal in containers and for dynamic users.
    let name = User::from_uid(uid).ok().flatten().map(|user| format!("{} ", user.name));
    let name = name.unwrap_or_default();
    Finding::ok(format!(
        "{name}(uid {uid}): what follows holds for an agent that runs as this user"
    ))
}
