//! Pseudonyms for sharing: every address and every name is replaced, the same by the same, so that
//! the story can still be followed.
//!
//! Invariant: a name is replaced wherever it stands as a word, in sentences too; ports, numbers and
//! the words of the catalogue stay. Loopback and unspecified addresses say nothing and stay.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Report;
use super::finding::Finding;

#[derive(Debug, Default)]
struct Pseudonyms {
    addresses: BTreeMap<IpAddr, usize>,
    names: BTreeMap<String, String>,
}

/// Replaces addresses and names in all of `report`. `names` are those of processes, executables,
/// cgroups, containers, hosts, and functions on stacks.
pub(crate) fn redact(report: &mut Report, names: impl IntoIterator<Item = (&'static str, String)>) {
    let mut known = Pseudonyms::default();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for (what, name) in names {
        if name.is_empty() || known.names.contains_key(&name) {
            continue;
        }
        let number = numbers.entry(what).or_default();
        *number += 1;
        known.names.insert(name, format!("{what}-{number}"));
    }
    // Notes name files, and a path names its owner.
    for host in &report.hosts {
        for file in &host.host.files {
            let number = numbers.entry("recording").or_default();
            *number += 1;
            known
                .names
                .insert(file.clone(), format!("recording-{number}"));
        }
    }
    report.redacted = true;
    let mut each = |text: &mut String| *text = known.replace(text);
    report.summary.iter_mut().for_each(&mut each);
    report.notes.iter_mut().for_each(&mut each);
    for host in &mut report.hosts {
        let facts = &mut host.host;
        each(&mut facts.name);
        facts.boot_id = "redacted".to_owned();
        facts.recording_id = "redacted".to_owned();
        // What somebody typed may hold anything, the name of somebody who was not seen too.
        facts.command = vec!["redacted".to_owned()];
        facts
            .filters
            .iter_mut()
            .for_each(|filter| *filter = "redacted".to_owned());
        facts.files.iter_mut().for_each(&mut each);
        host.findings.iter_mut().for_each(|f| finding(f, &mut each));
        for line in host.processes.iter_mut().chain(&mut host.services) {
            each(&mut line.name);
        }
        for listener in &mut host.listeners {
            each(&mut listener.local);
            listener.process.iter_mut().for_each(&mut each);
        }
    }
    if let Some(meeting) = &mut report.ends {
        meeting.each_text(&mut each);
    }
}

fn finding(finding: &mut Finding, each: &mut impl FnMut(&mut String)) {
    finding.process.iter_mut().for_each(&mut *each);
    finding
        .processes
        .iter_mut()
        .for_each(|(name, _)| each(name));
    finding.service.iter_mut().for_each(&mut *each);
    each(&mut finding.summary);
    each(&mut finding.advice);
    finding
        .evidence
        .iter_mut()
        .for_each(|(_, value)| each(value));
    for (local, peer) in &mut finding.samples {
        each(local);
        each(peer);
    }
}

impl Pseudonyms {
    fn replace(&mut self, text: &str) -> String {
        let named = self.replace_names(text);
        self.replace_addresses(&named)
    }

    /// Longest names first, at the borders of words only.
    fn replace_names(&self, text: &str) -> String {
        let mut names: Vec<(&String, &String)> = self
            .names
            .iter()
            .filter(|(name, _)| text.contains(name.as_str()))
            .collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        'text: while at < text.len() {
            let rest = &text[at..];
            if !out.ends_with(in_word) {
                for (name, pseudonym) in &names {
                    if let Some(after) = rest.strip_prefix(name.as_str())
                        && !after.starts_with(in_word)
                    {
                        out.push_str(pseudonym);
                        at += name.len();
                        continue 'text;
                    }
                }
            }
            let Some(c) = rest.chars().next() else { break };
            out.push(c);
            at += c.len_utf8();
        }
        out
    }

    /// Whatever reads as an address is one.
    fn replace_addresses(&mut self, text: &str) -> String {
        let part = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(part) {
            out.push_str(&rest[..start]);
            let tail = &rest[start..];
            let end = tail.find(|c: char| !part(c)).unwrap_or(tail.len());
            let glued = out.ends_with(in_word) || tail[end..].starts_with(in_word);
            let (word, after) = tail.split_at(end);
            match (glued, self.address(word)) {
                (false, Some(replaced)) => out.push_str(&replaced),
                _ => out.push_str(word),
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, with a stop or colon that belongs to the sentence.
    fn address(&mut self, word: &str) -> Option<String> {
        let bare = word.trim_end_matches(['.', ':']);
        let punctuation = &word[bare.len()..];
        if !bare.contains(['.', ':']) {
            return None;
        }
        let (address, port) = match bare.parse::<IpAddr>() {
            Ok(address) => (address, ""),
            Err(_) => {
                let (address, port) = bare.rsplit_once(':')?;
                (address.parse::<std::net::Ipv4Addr>().ok()?.into(), port)
            }
        };
        if address.is_loopback() || address.is_unspecified() {
            return None;
        }
        let next = self.addresses.len() + 1;
        let number = *self.addresses.entry(address).or_insert(next);
        let colon = if port.is_empty() { "" } else { ":" };
        Some(format!("address-{number}{colon}{port}{punctuation}"))
    }
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_replaced_and_parts_of_words_are_not() {
        let mut known = Pseudonyms::default();
        for (name, pseudonym) in [("shop", "process-1"), ("/usr/bin/shop", "program-1")] {
            known.names.insert(name.to_owned(), pseudonym.to_owned());
        }
        let mut check = |text: &str, expected: &str| assert_eq!(known.replace(text), expected);
        check(
            "shop (pid 812) keeps shops",
            "process-1 (pid 812) keeps shops",
        );
        check("/usr/bin/shop", "program-1");
        check(
            "to 192.0.2.1:443 and 192.0.2.1.",
            "to address-1:443 and address-1.",
        );
        check(
            "[2001:db8::1]:443, 192.0.2.2: 5",
            "[address-2]:443, address-3: 5",
        );
        check(
            "127.0.0.1:80 at 12:30:05, 1.5 s, fd 9",
            "127.0.0.1:80 at 12:30:05, 1.5 s, fd 9",
        );
        check("0.0.0.0:8080", "0.0.0.0:8080");
    }
}
