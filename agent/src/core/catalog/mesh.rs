//! Metrics of the mesh: links, neighbours, network cost.
