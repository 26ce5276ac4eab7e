//! What a release consists of, besides the programs themselves.

pub mod bom;
pub mod guest;
pub mod licences;
pub mod linked;
pub mod publish;
pub mod sbom;

#[cfg(test)]
mod fixtures;
