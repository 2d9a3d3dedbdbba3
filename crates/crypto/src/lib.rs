//! Mechanisms of Waypost: bytes, keys and times; pure.
//!
//! Signing of what goes out ([`signature`]), keyed hashes of what comes in ([`token`]) and the sealing of
//! what is stored ([`seal`]). Nothing here does IO, reads a clock or knows a domain word beyond the names of
//! the keys; the only outside thing it touches is the random generator of the operating system.

pub mod assertion;
pub mod certificate;
pub mod envelope;
pub mod seal;
pub mod signature;
pub mod token;

mod primitive;
