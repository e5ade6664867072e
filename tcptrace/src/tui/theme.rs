//! How things look: styles by meaning, and the glyphs with their ASCII stand-ins.
//!
//! Invariant: colour repeats what words or marks already say. Without colour only bold, dim and
//! reverse are used; with `--ascii` every glyph of ours is ASCII.

use ratatui::style::{Color, Modifier, Style};
use tcptrace_core::finding::Severity;
use tcptrace_core::tcp::TcpState;

/// The look of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    /// Colours may be used.
    pub(super) color: bool,
    /// Only ASCII may be drawn.
    pub(super) ascii: bool,
}

impl Theme {
    fn tinted(self, color: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.color { style.fg(color) } else { style }
    }

    pub(super) fn plain(self) -> Style {
        Style::new()
    }

    pub(super) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Labels, units and what is over. Dim rather than grey: grey vanishes on some palettes.
    pub(super) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// A section's title.
    pub(super) fn heading(self) -> Style {
        self.tinted(Color::Cyan, Modifier::BOLD)
    }

    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Losses and failures: cannot be overlooked, with or without colour.
    pub(super) fn loud(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.color {
            style.fg(Color::White).bg(Color::Red)
        } else {
            style.add_modifier(Modifier::REVERSED)
        }
    }

    /// Paused, recording: a state that the user asked for and should not forget.
    pub(super) fn badge(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.color {
            style.fg(Color::Black).bg(Color::Yellow)
        } else {
            style.add_modifier(Modifier::REVERSED)
        }
    }

    pub(super) fn good(self) -> Style {
        self.tinted(Color::Green, Modifier::empty())
    }

    pub(super) fn severity(self, severity: Severity) -> Style {
        match severity {
            Severity::Info => self.tinted(Color::Cyan, Modifier::empty()),
            Severity::Warning => self.tinted(Color::Yellow, Modifier::BOLD),
            Severity::Critical => self.tinted(Color::Red, Modifier::BOLD),
        }
    }

    /// A mark that says the severity without colour, three columns wide.
    pub(super) fn severity_mark(self, severity: Severity) -> &'static str {
        match severity {
            Severity::Info => " i ",
            Severity::Warning => " ! ",
            Severity::Critical => "!!!",
        }
    }

    /// States that call for a look stand out; those that pass by themselves are quiet.
    pub(super) fn state(self, state: TcpState) -> Style {
        match state {
            TcpState::CloseWait => self.tinted(Color::Yellow, Modifier::BOLD),
            TcpState::LastAck | TcpState::Closing | TcpState::FinWait1 => {
                self.tinted(Color::Magenta, Modifier::empty())
            }
            TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv => {
                self.tinted(Color::Blue, Modifier::empty())
            }
            TcpState::TimeWait | TcpState::Close => self.quiet(),
            TcpState::Established | TcpState::Listen | TcpState::FinWait2 => self.plain(),
        }
    }

    /// How full a queue is, 0 to 1 and beyond.
    pub(super) fn fullness(self, share: f64) -> Style {
        match share {
            share if share >= 1.0 => self.severity(Severity::Critical),
            share if share >= 0.5 => self.severity(Severity::Warning),
            _ => self.plain(),
        }
    }

    fn glyph(self, drawn: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii { ascii } else { drawn }
    }

    pub(super) fn rule(self) -> &'static str {
        self.glyph("─", "-")
    }

    pub(super) fn full(self) -> &'static str {
        self.glyph("█", "#")
    }

    pub(super) fn empty(self) -> &'static str {
        self.glyph("░", ".")
    }

    pub(super) fn arrow(self) -> &'static str {
        self.glyph("→", "->")
    }

    pub(super) fn marker(self) -> &'static str {
        self.glyph("›", ">")
    }

    pub(super) fn ellipsis(self) -> &'static str {
        self.glyph("…", "~")
    }

    pub(super) fn ascending(self) -> &'static str {
        self.glyph("▲", "^")
    }

    pub(super) fn descending(self) -> &'static str {
        self.glyph("▼", "v")
    }

    pub(super) fn done(self) -> &'static str {
        self.glyph(" ✓ ", " = ")
    }

    pub(super) fn micro(self) -> &'static str {
        self.glyph("µs", "us")
    }
}
