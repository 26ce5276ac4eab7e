//! Which node password, which credentials and which drop-in are to lie where k3s looks for them, and which are kept apart. Given
//! what lies where, names the writes and removals that lead to it; each of them is durable before the next.
//!
//! - Each federation has a node password and credentials of its own. None is ever shown to another one.
//! - What the operator had before is kept too, under [`OPERATOR`], and lies in its place while the vehicle is in no federation.
//!   The password of the operator goes with the first federation, since the vehicle may be known there by it.
//! - Whose a password or credential is, is told by the drop-in while there is one, and otherwise by comparing it with all that
//!   are kept. So there is no marker that a power cut could leave behind: after each single act the rest follows from what lies
//!   there.
//! - The password of a federation is kept before k3s first sees it: a vehicle that loses it is refused for as long as its Node is
//!   there.

use std::collections::BTreeMap;

use super::drop_in::equipped;

/// In place of a federation's name, for what was there before any. No federation has a name with a dot in front.
pub const OPERATOR: &str = ".operator";

/// Lists of servers of k3s's load balancers, below `agent/etc` of its data. A list of another federation leads astray.
pub const BALANCERS: [&str; 2] =
    ["k3s-agent-load-balancer.json", "k3s-api-server-agent-load-balancer.json"];

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Whether a file of k3s's `agent` folder says who this node is, or whom it trusts.
#[must_use]
pub fn is_credential(name: &str) -> bool {
    let begins = ["client-", "serving-", "server-ca"].iter().any(|begin| name.starts_with(begin));
    let is_key = name.ends_with(".crt") || name.ends_with(".key");
    (begins && is_key) || name.ends_with(".kubeconfig")
}

/// Whether a federation of this name can have a folder.
#[must_use]
pub fn is_folder_name(federation: &str) -> bool {
    let fits = |letter: char| !letter.is_control() && letter != '/';
    !federation.is_empty() && !federation.starts_with('.') && federation.chars().all(fits)
}

/// What is kept for one federation, or for [`OPERATOR`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Node password, without a line's end.
    pub password: Option<String>,
    /// Credentials.
    pub credentials: Files,
    /// The file that a drop-in names.
    pub token: Option<String>,
}

/// What lies on this vehicle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The drop-in.
    pub drop_in: Option<String>,
    /// Node password where k3s reads it.
    pub password: Option<String>,
    /// Credentials where k3s has them.
    pub credentials: Files,
    /// What is kept, by federation.
    pub kept: BTreeMap<String, Kept>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// The drop-in.
    DropIn,
    /// Node password where k3s reads it.
    Password,
    /// A credential where k3s has it.
    Credential(String),
    /// One of [`BALANCERS`].
    Balancer(&'static str),
    /// The token of a federation.
    Token(String),
    /// Node password that is kept.
    KeptPassword(String),
    /// The one before, when k3s or a person made another.
    EarlierPassword(String),
    /// Credential that is kept, of whom and by which name.
    KeptCredential(String, String),
}

/// One change. Both are harmless when done twice.
#[derive(Clone, PartialEq, Eq)]
pub enum Act {
    /// Replace a file as a whole; nobody but its owner may read it.
    Write(Spot, Vec<u8>),
    /// Remove a file, if there is one.
    Remove(Spot),
}

impl std::fmt::Debug for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Act::Write(spot, _) => write!(f, "Write({spot:?})"),
            Act::Remove(spot) => write!(f, "Remove({spot:?})"),
        }
    }
}

/// What is to be put into place for a federation.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its name.
    pub federation: &'a str,
    /// Text of the drop-in.
    pub drop_in: &'a str,
    /// Text of the token's file.
    pub token: &'a str,
    /// Node password if it never had one.
    pub fresh_password: &'a str,
}

/// Changes that equip the vehicle for a federation, in order; the drop-in comes last.
///
/// # Errors
/// It is equipped for another one, or somebody else uses the drop-in's name.
pub fn equip(seen: &Seen, wanted: Wanted<'_>) -> Result<Vec<Act>, String> {
    let federation = wanted.federation;
    let mut plan = Plan::new(seen);
    match equipped_for(seen)? {
        Some(other) if other != federation => {
            return Err(format!(
                "this vehicle is equipped for {other}; leave that federation first"
            ));
        }
        Some(_) => plan.keep_own(federation),
        None => {
            plan.put_away();
            plan.bring(federation, wanted.fresh_password);
        }
    }
    if plan.kept(federation).token.as_deref() != Some(wanted.token) {
        plan.acts.push(Act::Write(Spot::Token(federation.to_owned()), wanted.token.into()));
    }
    if plan.seen.drop_in.as_deref() != Some(wanted.drop_in) {
        plan.acts.push(Act::Write(Spot::DropIn, wanted.drop_in.into()));
    }
    Ok(plan.acts)
}

/// Changes after which the vehicle is equipped for no federation, in order.
///
/// # Errors
/// It is equipped for another one, or somebody else uses the drop-in's name.
pub fn strip(seen: &Seen, federation: &str) -> Result<Vec<Act>, String> {
    let mut plan = Plan::new(seen);
    match equipped_for(seen)? {
        Some(other) if other != federation => {
            return Err(format!("this vehicle is equipped for {other}, not for {federation}"));
        }
        Some(_) => plan.take(federation),
        None => {}
    }
    if plan.kept(federation).token.is_some() {
        plan.acts.push(Act::Remove(Spot::Token(federation.to_owned())));
    }
    plan.give_back();
    Ok(plan.acts)
}

fn equipped_for(seen: &Seen) -> Result<Option<String>, String> {
    let Some(text) = &seen.drop_in else { return Ok(None) };
    let stranger =
        || "the drop-in of this agent was written by somebody else; move it away".to_owned();
    equipped(text).ok_or_else(stranger).map(Some)
}

/// What lies where after the acts so far.
struct Plan {
    seen: Seen,
    acts: Vec<Act>,
}

impl Plan {
    fn new(seen: &Seen) -> Plan {
        Plan { seen: seen.clone(), acts: Vec::new() }
    }

    fn kept(&mut self, whose: &str) -> &mut Kept {
        self.seen.kept.entry(whose.to_owned()).or_default()
    }

    fn password(&mut self, password: &str) {
        if self.seen.password.as_deref() != Some(password) {
            self.acts.push(Act::Write(Spot::Password, line(password)));
            self.seen.password = Some(password.to_owned());
        }
    }

    /// Keeps a password; one that was kept in its place before is kept once more.
    fn keep_password(&mut self, whose: &str, password: &str) {
        let kept = self.kept(whose);
        if kept.password.as_deref() == Some(password) {
            return;
        }
        if let Some(earlier) = kept.password.replace(password.to_owned()) {
            self.acts.push(Act::Write(Spot::EarlierPassword(whose.to_owned()), line(&earlier)));
        }
        self.acts.push(Act::Write(Spot::KeptPassword(whose.to_owned()), line(password)));
    }

    fn keep_credential(&mut self, whose: &str, name: String, content: Vec<u8>) {
        let kept = self.kept(whose);
        if kept.credentials.get(&name) != Some(&content) {
            kept.credentials.insert(name.clone(), content.clone());
            self.acts.push(Act::Write(Spot::KeptCredential(whose.to_owned(), name), content));
        }
    }

    /// Whose password it is, if it is kept.
    fn owner(&self, password: &str) -> Option<&str> {
        let is_it = |kept: &Kept| kept.password.as_deref() == Some(password);
        // The operator's may have gone with a federation, whose it then is.
        let mut owners =
            self.seen.kept.iter().filter(|(_, kept)| is_it(kept)).map(|(whose, _)| whose);
        let first = owners.next()?;
        Some(if first == OPERATOR { owners.next().unwrap_or(first) } else { first })
    }

    /// Keeps what the operator has there, as far as it is not kept already.
    fn put_away(&mut self) {
        if let Some(password) = self.seen.password.clone().filter(|live| self.owner(live).is_none())
        {
            self.keep_password(OPERATOR, &password);
        }
        for (name, content) in self.seen.credentials.clone() {
            let known =
                self.seen.kept.values().any(|kept| kept.credentials.get(&name) == Some(&content));
            if !known {
                self.keep_credential(OPERATOR, name, content);
            }
        }
    }

    /// Puts what is a federation's where k3s looks for it.
    fn bring(&mut self, federation: &str, fresh: &str) {
        let operators = self.kept(OPERATOR).password.clone();
        let free = operators.filter(|password| self.owner(password) == Some(OPERATOR));
        let own = self.kept(federation).password.clone().or(free).unwrap_or(fresh.to_owned());
        self.keep_password(federation, &own);
        self.password(&own);
        let own = self.kept(federation).credentials.clone();
        self.replace_credentials(own);
        self.acts.extend(BALANCERS.map(|name| Act::Remove(Spot::Balancer(name))));
    }

    /// Already equipped: what k3s reads is the federation's, unless it is gone.
    fn keep_own(&mut self, federation: &str) {
        match (self.seen.password.clone(), self.kept(federation).password.clone()) {
            (None, Some(own)) => self.password(&own),
            (Some(own), None) => self.keep_password(federation, &own),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// Keeps what k3s last had for a federation, and takes it away from it.
    fn take(&mut self, federation: &str) {
        if let Some(password) = self.seen.password.clone().filter(|live| self.owner(live).is_none())
        {
            self.keep_password(federation, &password);
        }
        for (name, content) in self.seen.credentials.clone() {
            self.keep_credential(federation, name, content);
        }
        self.replace_credentials(Files::new());
        self.acts.extend(BALANCERS.map(|name| Act::Remove(Spot::Balancer(name))));
        self.acts.push(Act::Remove(Spot::DropIn));
        self.seen.drop_in = None;
    }

    /// In no federation: what was there before any lies there again.
    fn give_back(&mut self) {
        let is_ours =
            |plan: &Plan| plan.seen.password.as_ref().is_none_or(|live| plan.owner(live).is_some());
        if is_ours(self) {
            match self.kept(OPERATOR).password.clone() {
                Some(password) => self.password(&password),
                None if self.seen.password.take().is_some() => {
                    self.acts.push(Act::Remove(Spot::Password));
                }
                None => {}
            }
        }
        let missing: Vec<(String, Vec<u8>)> = self
            .kept(OPERATOR)
            .credentials
            .clone()
            .into_iter()
            .filter(|(name, _)| !self.seen.credentials.contains_key(name))
            .collect();
        for (name, content) in missing {
            self.acts.push(Act::Write(Spot::Credential(name.clone()), content.clone()));
            self.seen.credentials.insert(name, content);
        }
    }

    fn replace_credentials(&mut self, wanted: Files) {
        for name in self.seen.credentials.keys().filter(|name| !wanted.contains_key(*name)) {
            self.acts.push(Act::Remove(Spot::Credential(name.clone())));
        }
        for (name, content) in &wanted {
            if self.seen.credentials.get(name) != Some(content) {
                self.acts.push(Act::Write(Spot::Credential(name.clone()), content.clone()));
            }
        }
        self.seen.credentials = wanted;
    }
}

/// As k3s writes a password: one line.
fn line(password: &str) -> Vec<u8> {
    format!("{password}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_in(federation: &str) -> String {
        format!("# outrider: equipped for {federation:?}\n")
    }

    /// Does what an act says, as the shell does it with files.
    fn perform(seen: &mut Seen, act: &Act) {
        let text = |content: &[u8]| String::from_utf8(content.to_vec()).unwrap();
        let bare = |content: &[u8]| text(content).trim_end().to_owned();
        let content = match act {
            Act::Write(_, content) => Some(content.clone()),
            Act::Remove(_) => None,
        };
        let (Act::Write(spot, _) | Act::Remove(spot)) = act;
        match spot {
            Spot::DropIn => seen.drop_in = content.map(|content| text(&content)),
            Spot::Password => seen.password = content.map(|content| bare(&content)),
            Spot::Credential(name) => put(&mut seen.credentials, name, content),
            Spot::Balancer(_) | Spot::EarlierPassword(_) => {}
            Spot::Token(whose) => {
                seen.kept.entry(whose.clone()).or_default().token =
                    content.map(|content| text(&content));
            }
            Spot::KeptPassword(whose) => {
                seen.kept.entry(whose.clone()).or_default().password =
                    content.map(|content| bare(&content));
            }
            Spot::KeptCredential(whose, name) => {
                put(&mut seen.kept.entry(whose.clone()).or_default().credentials, name, content);
            }
        }
    }

    fn put(files: &mut Files, name: &str, content: Option<Vec<u8>>) {
        match content {
            Some(content) => files.insert(name.to_owned(), content),
            None => files.remove(name),
        };
    }

    fn plan_equip(seen: &Seen, federation: &str, fresh: &str) -> Vec<Act> {
        let (drop_in, token) = (drop_in(federation), format!("token of {federation}\n"));
        let wanted = Wanted { federation, drop_in: &drop_in, token: &token, fresh_password: fresh };
        equip(seen, wanted).unwrap()
    }

    fn equip_for(seen: &mut Seen, federation: &str, fresh: &str) {
        for act in plan_equip(seen, federation, fresh) {
            perform(seen, &act);
        }
        assert_eq!(plan_equip(seen, federation, "other"), [], "done twice");
    }

    fn strip_of(seen: &mut Seen, federation: &str) {
        for act in strip(seen, federation).unwrap() {
            perform(seen, &act);
        }
        assert_eq!(strip(seen, federation).unwrap(), [], "done twice");
    }

    fn files(of: &str) -> Files {
        ["client-kubelet.crt", "client-kubelet.key", "server-ca.crt", "kubelet.kubeconfig"]
            .map(|name| (name.to_owned(), format!("{name} of {of}").into_bytes()))
            .into()
    }

    fn operators() -> Seen {
        Seen {
            password: Some("operators".to_owned()),
            credentials: files("operator"),
            ..Seen::default()
        }
    }

    #[test]
    fn each_federation_has_its_own_and_the_operator_gets_back_what_was_there() {
        let mut seen = operators();
        equip_for(&mut seen, "red", "fresh");
        assert_eq!(seen.password.as_deref(), Some("operators"), "the first gets the operator's");
        assert!(seen.credentials.is_empty());
        seen.credentials = files("red");
        strip_of(&mut seen, "red");
        assert_eq!(seen.drop_in, None);
        assert_eq!(seen.password.as_deref(), Some("operators"));
        assert_eq!(seen.credentials, files("operator"));
        assert_eq!(seen.kept["red"].credentials, files("red"));
        assert_eq!(seen.kept["red"].token, None);

        equip_for(&mut seen, "purple", "fresh");
        assert_eq!(seen.password.as_deref(), Some("fresh"), "red's is not shown to purple");
        assert!(seen.credentials.is_empty());
        seen.credentials = files("purple");
        strip_of(&mut seen, "purple");
        assert_eq!(seen.password.as_deref(), Some("operators"));

        equip_for(&mut seen, "red", "other");
        assert_eq!(seen.password.as_deref(), Some("operators"));
        assert_eq!(seen.credentials, files("red"), "an expired token does not lock it out");
    }

    #[test]
    fn a_vehicle_without_a_password_gets_one_that_is_kept_at_once() {
        let mut seen = Seen::default();
        equip_for(&mut seen, "red", "fresh");
        assert_eq!(seen.kept["red"].password.as_deref(), Some("fresh"));
        seen.password = None;
        equip_for(&mut seen, "red", "other");
        assert_eq!(seen.password.as_deref(), Some("fresh"), "what /etc lost comes back");
        strip_of(&mut seen, "red");
        assert_eq!(seen.password, None);
    }

    #[test]
    fn what_k3s_or_a_person_made_meanwhile_is_the_federations_and_nothing_is_lost() {
        let mut seen = operators();
        equip_for(&mut seen, "red", "fresh");
        seen.password = Some("anew".to_owned());
        assert_eq!(plan_equip(&seen, "red", "x"), []);
        let acts = strip(&seen, "red").unwrap();
        let earlier = Act::Write(Spot::EarlierPassword("red".to_owned()), line("operators"));
        assert!(acts.contains(&earlier), "{acts:?}");
        strip_of(&mut seen, "red");
        assert_eq!(seen.kept["red"].password.as_deref(), Some("anew"));
        assert_eq!(seen.password.as_deref(), Some("operators"));
        seen.password = Some("set by hand".to_owned());
        strip_of(&mut seen, "red");
        assert_eq!(seen.password.as_deref(), Some("set by hand"));
    }

    #[test]
    fn another_federation_or_a_strangers_drop_in_is_in_the_way() {
        let mut seen = Seen::default();
        equip_for(&mut seen, "red", "fresh");
        let text = drop_in("purple");
        let wanted =
            Wanted { federation: "purple", drop_in: &text, token: "t", fresh_password: "x" };
        assert!(equip(&seen, wanted).unwrap_err().contains("equipped for red"));
        assert!(strip(&seen, "purple").unwrap_err().contains("equipped for red"));
        let seen = Seen { drop_in: Some("server: x\n".to_owned()), ..Seen::default() };
        assert!(equip(&seen, wanted).unwrap_err().contains("somebody else"));
        assert!(strip(&seen, "purple").unwrap_err().contains("somebody else"));
    }

    #[test]
    fn a_power_cut_after_any_act_leads_to_the_same_end() {
        let mut starts = vec![Seen::default(), operators()];
        let mut been = operators();
        equip_for(&mut been, "red", "fresh");
        been.credentials = files("red");
        strip_of(&mut been, "red");
        starts.push(been);
        for start in starts {
            for federation in ["red", "purple"] {
                let mut straight = start.clone();
                equip_for(&mut straight, federation, "fresh");
                for cut in 0..plan_equip(&start, federation, "fresh").len() {
                    let mut seen = start.clone();
                    for act in &plan_equip(&start, federation, "fresh")[..cut] {
                        perform(&mut seen, act);
                    }
                    equip_for(&mut seen, federation, "fresh");
                    assert_eq!(seen, straight, "equip for {federation}, cut after {cut}");
                }
                straight.credentials = files(federation);
                let acts = strip(&straight, federation).unwrap();
                let mut stripped = straight.clone();
                strip_of(&mut stripped, federation);
                for cut in 0..acts.len() {
                    let mut seen = straight.clone();
                    for act in &acts[..cut] {
                        perform(&mut seen, act);
                    }
                    strip_of(&mut seen, federation);
                    assert_eq!(seen, stripped, "strip of {federation}, cut after {cut}");
                }
            }
        }
    }

    proptest::proptest! {
        /// Whatever the way through federations and power cuts, no server sees a password that another one was shown.
        #[test]
        fn no_password_is_shown_to_two(
            moves in proptest::collection::vec((0_usize..3, 0_usize..12, 0_usize..20), 1..12),
            operator: bool,
        ) {
            let mut seen = if operator { operators() } else { Seen::default() };
            let mut shown: BTreeMap<String, String> = BTreeMap::new();
            for (index, (which, cut_equip, cut_strip)) in moves.into_iter().enumerate() {
                let federation = ["red", "purple", "blue"][which];
                let fresh = format!("fresh{index}");
                for act in plan_equip(&seen, federation, &fresh).iter().take(cut_equip) {
                    perform(&mut seen, act);
                }
                if seen.drop_in.is_some() || cut_equip % 2 == 0 {
                    equip_for(&mut seen, federation, &format!("again{index}"));
                    seen.credentials = files(federation);
                    let password = seen.password.clone().unwrap();
                    let first = shown.entry(password).or_insert(federation.to_owned());
                    proptest::prop_assert_eq!(first.as_str(), federation);
                    for act in strip(&seen, federation).unwrap().iter().take(cut_strip) {
                        perform(&mut seen, act);
                    }
                    strip_of(&mut seen, federation);
                    proptest::prop_assert_eq!(seen.password.is_some(), operator);
                }
            }
        }
    }

    #[test]
    fn credentials_and_nothing_else_are_credentials() {
        for name in [
            "client-kubelet.crt",
            "client-kubelet.key",
            "serving-kubelet.crt",
            "server-ca.crt",
            "client-ca.crt",
            "client-kube-proxy.key",
            "client-k3s-controller.crt",
            "kubelet.kubeconfig",
            "kubeproxy.kubeconfig",
        ] {
            assert!(is_credential(name), "{name}");
        }
        for name in ["containerd", "images", "etc", "client-x.txt", "pod-manifests", "x.crt"] {
            assert!(!is_credential(name), "{name}");
        }
        assert!(is_folder_name("purple") && !is_folder_name("..") && !is_folder_name("a/b"));
    }
}
