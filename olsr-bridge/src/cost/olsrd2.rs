//! olsrd2's raw metrics as expected transmissions.

use crate::build::Parts;
use crate::cost::CostOptions;
use crate::view::LinkMetric;

/// Fills the costs of all links, edges and routes in `parts` and tells how this daemon measures links.
pub(crate) fn apply(_parts: &mut Parts, _options: &CostOptions) -> LinkMetric {
    LinkMetric::Unknown
}
