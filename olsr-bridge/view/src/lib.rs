//! From the bytes of olsrd's largest answers to one [`MeshView`](view::MeshView).
//!
//! What has to be fast of `olsr-bridge` is here, in a crate of its own, because releases are built for speed or for size by the crate:
//! the reader for what daemons call JSON, the parser of olsrd's jsoninfo, and the builder that every parser hands its rows to.
//! `olsr-bridge` shows all of it under its own name. Everything here is pure.

pub mod build;
pub mod cost;
pub mod failure;
pub mod http;
mod identity;
pub mod json;
pub mod lookup;
pub mod number;
mod order;
mod scan;
pub mod v1;
pub mod view;
