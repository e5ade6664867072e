//! The engine of tcptrace: everything between a decoded kernel fact and a finding.
//!
//! Nothing here performs input or output, reads a clock, spawns a thread or iterates a randomly
//! seeded map. Facts enter by [`Engine::apply`], one [`Input`] at a time; findings, annotations and
//! requests leave as values. That is why a recording replayed through this crate makes exactly the
//! findings of the live run.

mod book;
pub mod decode;
pub mod engine;
mod evictions;
pub mod filter;
pub mod finding;
pub mod input;
pub mod request;
mod rules;
pub mod settings;
pub mod tcp;
pub mod units;
pub mod world;

pub use engine::{Engine, Outcome};
pub use evictions::Evictions;
pub use finding::Finding;
pub use input::Input;
pub use world::World;
