//! `cargo xtask demo`: the product, shown in thirty seconds.

/// Not wired up yet.
pub(crate) fn run() -> anyhow::Result<()> {
    anyhow::bail!("the demo is not part of this build; run `cargo xtask live` instead")
}
