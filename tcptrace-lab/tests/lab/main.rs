//! The lab: real mistakes, the real kernel, the real agent. Needs root, and fails without.
//!
//! Every test has network namespaces of its own and asks the agent for those only, so the tests
//! run beside each other.

mod check;
mod close_wait;
mod closing;
mod closing_sides;
mod containers;
mod demo;
mod endings;
mod ends;
mod live;
mod openings;
mod overflow;
mod owners;
mod privileges;
mod queues;
mod report;
mod segments;
mod stacks;
mod traps;
mod unanswered;
