//! Under which conditions a recording was made.

use serde::Serialize;
use tcptrace_core::input::NetnsFacts;

/// The header of a recording, for people.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) kernel: String,
    pub(crate) arch: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hz: Option<u32>,
    pub(crate) boot_id: String,
    pub(crate) recording_id: String,
    pub(crate) tool_version: String,
    pub(crate) command: Vec<String>,
    pub(crate) filters: Vec<String>,
    pub(crate) completeness: String,
    pub(crate) files: Vec<String>,
    /// Of thresholds, only those that are not as usual: name and value.
    pub(crate) thresholds: Vec<(String, String)>,
    pub(crate) probes: Vec<Probe>,
    /// Namespace and its settings.
    pub(crate) sysctls: Vec<(u32, Vec<(String, String)>)>,
}

/// One probe of the run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Probe {
    pub(crate) name: String,
    pub(crate) tier: String,
    pub(crate) attached: bool,
    pub(crate) reason: String,
}

/// The settings of a namespace, by the names that `sysctl` knows.
pub(super) fn sysctls(facts: &NetnsFacts) -> (u32, Vec<(String, String)>) {
    let NetnsFacts {
        at: _,
        netns,
        somaxconn,
        tcp_max_syn_backlog,
        tcp_syncookies,
        tcp_synack_retries,
        tcp_syn_retries,
        tcp_orphan_retries,
        tcp_retries2,
        tcp_fin_timeout,
        tcp_abort_on_overflow,
        tcp_max_tw_buckets,
        tcp_tw_reuse,
        tcp_timestamps,
        tcp_max_orphans,
        local_port_first,
        local_port_last,
        local_ports_reserved: _,
        tcp_syn_linear_timeouts,
        tcp_keepalive_time,
        tcp_keepalive_intvl,
        tcp_keepalive_probes,
        tcp_rto_max_ms,
        tcp_tw_reuse_delay,
    } = facts;
    let mut known: Vec<(String, String)> = [
        ("net.core.somaxconn", somaxconn),
        ("net.ipv4.tcp_max_syn_backlog", tcp_max_syn_backlog),
        ("net.ipv4.tcp_syncookies", tcp_syncookies),
        ("net.ipv4.tcp_syn_retries", tcp_syn_retries),
        ("net.ipv4.tcp_syn_linear_timeouts", tcp_syn_linear_timeouts),
        ("net.ipv4.tcp_synack_retries", tcp_synack_retries),
        ("net.ipv4.tcp_retries2", tcp_retries2),
        ("net.ipv4.tcp_orphan_retries", tcp_orphan_retries),
        ("net.ipv4.tcp_max_orphans", tcp_max_orphans),
        ("net.ipv4.tcp_fin_timeout", tcp_fin_timeout),
        ("net.ipv4.tcp_abort_on_overflow", tcp_abort_on_overflow),
        ("net.ipv4.tcp_max_tw_buckets", tcp_max_tw_buckets),
        ("net.ipv4.tcp_tw_reuse", tcp_tw_reuse),
        ("net.ipv4.tcp_tw_reuse_delay", tcp_tw_reuse_delay),
        ("net.ipv4.tcp_timestamps", tcp_timestamps),
        ("net.ipv4.tcp_rto_max_ms", tcp_rto_max_ms),
        ("net.ipv4.tcp_keepalive_time", tcp_keepalive_time),
        ("net.ipv4.tcp_keepalive_intvl", tcp_keepalive_intvl),
        ("net.ipv4.tcp_keepalive_probes", tcp_keepalive_probes),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), (*value)?.to_string())))
    .collect();
    if let (Some(first), Some(last)) = (local_port_first, local_port_last) {
        let range = format!("{first} {last}");
        known.push(("net.ipv4.ip_local_port_range".to_owned(), range));
    }
    (netns.0, known)
}
