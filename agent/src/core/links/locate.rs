//! Finds the vehicle behind an address that somebody outside of the mesh wrote down, such as a Node of a cluster. Answers for
//! one moment; remembers nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use olsr_bridge::view::MeshView;

use super::directory::Directory;
use super::{Links, Reach, Vehicle};

/// Whose addresses are whose.
pub struct Locator<'s> {
    directory: Option<Directory<'s>>,
    vehicles: BTreeMap<IpAddr, &'s Vehicle>,
    own: Option<&'s Vehicle>,
}

impl<'s> Locator<'s> {
    /// By what is followed, and by what the daemon said last.
    #[must_use]
    pub fn new(links: &'s Links, view: Option<&'s MeshView>) -> Locator<'s> {
        let all = || links.iter().map(|(_, vehicle)| vehicle);
        let mut vehicles = BTreeMap::new();
        // The identity of one outranks what another claims as a further address.
        let identities = all().filter_map(|vehicle| Some((*vehicle.addresses.first()?, vehicle)));
        let further =
            all().flat_map(|vehicle| vehicle.addresses.iter().map(move |a| (*a, vehicle)));
        for (address, vehicle) in identities.chain(further) {
            vehicles.entry(address).or_insert(vehicle);
        }
        let own = all().find(|vehicle| vehicle.reach == Reach::Own);
        Locator { directory: view.map(Directory::new), vehicles, own }
    }

    /// The vehicle that has this address itself, as originator or alias (MID).
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Option<&'s Vehicle> {
        if self.directory.as_ref().is_some_and(|directory| directory.is_own(address)) {
            return self.own;
        }
        let named = || self.directory.as_ref()?.node_at(address);
        let known = self.vehicles.get(&address).or_else(|| self.vehicles.get(&named()?));
        known.copied()
    }

    /// The vehicle that announces a network with this address in it (HNA), of which the one with the longest prefix counts.
    #[must_use]
    pub fn before(&self, address: IpAddr) -> Option<&'s Vehicle> {
        let directory = self.directory.as_ref()?;
        if directory.is_behind_own(address) {
            return self.own;
        }
        self.vehicles.get(&directory.announcer(address)?).copied()
    }
}
