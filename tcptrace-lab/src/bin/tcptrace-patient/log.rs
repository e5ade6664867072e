//! What each process did to which connection, one JSON object per line and per `write`, so that
//! many processes can append to one file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process;

use anyhow::{Context, Result};
use serde_json::json;

/// The shared log. Forked children write to the same open file.
pub(crate) struct Log(File);

impl Log {
    /// Opens it for appending.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map(Self)
            .with_context(|| format!("cannot append to {}", path.display()))
    }

    /// Notes that this process and thread `did` something to a connection.
    pub(crate) fn note(&self, did: &str, local: SocketAddr, peer: SocketAddr) -> Result<()> {
        let tid = nix::unistd::gettid().as_raw();
        let line = json!({
            "did": did, "pid": process::id(), "tid": tid,
            "local": local.to_string(), "peer": peer.to_string(),
        });
        Ok((&self.0).write_all(format!("{line}\n").as_bytes())?)
    }

    /// The same of a stream.
    pub(crate) fn note_stream(&self, did: &str, stream: &TcpStream) -> Result<()> {
        self.note(did, stream.local_addr()?, stream.peer_addr()?)
    }
}
