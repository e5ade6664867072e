//! What a guest says about its run, and what may be believed.
//!
//! Invariant: a run passes only by exactly one verdict line with this run's mark. None (a hang, a
//! panic, a power cut) fails, and so do two (a guest that started over, or a test that prints what
//! it should not). Before the command the guest says, with the same mark, that it is up: what goes
//! wrong until then is no matter of what was to run.

use std::fmt;

/// What makes this run's verdict line unmistakable.
#[derive(Clone, Debug)]
pub(crate) struct Mark(String);

impl Mark {
    /// One that no earlier output contains.
    pub(crate) fn new() -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        Self(format!("vm-verdict-{now:x}-{:x}", std::process::id()))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the guest's command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// With this exit status.
    Failed(u8),
}

/// Why there is no verdict to rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreliable {
    None,
    Several(usize),
    /// The mark with something else behind it.
    Garbled,
    /// It came up so many times.
    Restarted(usize),
}

/// What the guest says behind the mark before it runs the command.
pub(crate) const UP: &str = "up";

impl fmt::Display for Unreliable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("the guest gave no verdict"),
            Self::Several(count) => write!(f, "the guest gave {count} verdicts"),
            Self::Garbled => f.write_str("the guest's verdict is garbled"),
            Self::Restarted(times) => write!(f, "the guest came up {times} times"),
        }
    }
}

/// Collects the verdict lines of one run.
#[derive(Debug)]
pub(crate) struct Judge {
    mark: Mark,
    lines: Vec<String>,
    up: usize,
}

/// What a line of output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// For the reader.
    Output,
    /// The guest is about to run the command.
    Up,
    /// Its end.
    Verdict,
}

impl Judge {
    pub(crate) fn new(mark: Mark) -> Self {
        Self {
            mark,
            lines: Vec::new(),
            up: 0,
        }
    }

    /// Looks at one line of output.
    pub(crate) fn hear(&mut self, line: &str) -> Heard {
        let Some((_, said)) = line.split_once(self.mark.0.as_str()) else {
            return Heard::Output;
        };
        if said.trim() == UP {
            self.up += 1;
            return Heard::Up;
        }
        self.lines.push(said.trim().to_owned());
        Heard::Verdict
    }

    /// Whether the guest came as far as the command.
    pub(crate) fn is_up(&self) -> bool {
        self.up > 0
    }

    /// The verdict, when there is exactly one.
    pub(crate) fn verdict(&self) -> Result<Verdict, Unreliable> {
        if self.up > 1 {
            return Err(Unreliable::Restarted(self.up));
        }
        match self.lines.as_slice() {
            [] => Err(Unreliable::None),
            [line] => match line.parse() {
                Ok(0) => Ok(Verdict::Passed),
                Ok(status) => Ok(Verdict::Failed(status)),
                Err(_) => Err(Unreliable::Garbled),
            },
            several => Err(Unreliable::Several(several.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_verdict_counts() {
        let check = |said: &[&str], expected| {
            let mark = Mark::new();
            let mut judge = Judge::new(mark.clone());
            for line in said {
                judge.hear(&line.replace("MARK", &mark.0));
            }
            assert_eq!(judge.verdict(), expected, "{said:?}");
        };
        check(&["MARK up", "hello", "MARK 0"], Ok(Verdict::Passed));
        check(&["MARK 0"], Ok(Verdict::Passed));
        check(&["no newline beforeMARK 3"], Ok(Verdict::Failed(3)));
        check(&[], Err(Unreliable::None));
        check(&["vm-verdict-of-another-run 0"], Err(Unreliable::None));
        check(&["MARK 0", "MARK 0"], Err(Unreliable::Several(2)));
        check(&["MARK 1", "MARK 0"], Err(Unreliable::Several(2)));
        check(&["MARK"], Err(Unreliable::Garbled));
        check(&["MARK 0x"], Err(Unreliable::Garbled));
        check(&["MARK up"], Err(Unreliable::None));
        let twice = ["MARK up", "MARK up", "MARK 0"];
        check(&twice, Err(Unreliable::Restarted(2)));
    }
}
