//! How things look: styles by meaning, and the glyphs with their ASCII stand-ins.
//!
//! Invariant: colour repeats what words or marks already say. Without colour only bold, dim and
//! reverse are used; with `--ascii` every glyph of ours is ASCII.

use ratatui::style::{Color, Modifier, Style};
use tcptrace_core::finding::Severity;
use tcptrace_core::tcp::TcpState;

/// The look of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Theme {
    /// Colours may be used.
    pub(super) color: bool,
    /// Only ASCII may be drawn.
    pub(super) ascii: bool,
    /// Which colours.
    pub(super) palette: Palette,
}

/// Which colours stand for what. All are the terminal's own sixteen, so that its own scheme holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Palette {
    /// For a dark background.
    #[default]
    Dark,
    /// For a light background, where yellow and cyan cannot be read.
    Light,
    /// Without red against green, for those who see them alike.
    Colorblind,
}

impl Palette {
    /// The next one, for a key that walks through them.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Dark => Self::Light,
            Self::Light => Self::Colorblind,
            Self::Colorblind => Self::Dark,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Light => "light",
            Self::Colorblind => "colorblind",
        }
    }
}

/// What a colour says.
#[derive(Clone, Copy)]
enum Hue {
    Title,
    Good,
    Info,
    Warning,
    Critical,
    Closing,
    Opening,
}

impl Theme {
    fn color_of(self, hue: Hue) -> Color {
        match (self.palette, hue) {
            (Palette::Dark, Hue::Title | Hue::Info) => Color::Cyan,
            (Palette::Light, Hue::Title | Hue::Info) => Color::Blue,
            (Palette::Colorblind, Hue::Title) => Color::White,
            (Palette::Colorblind, Hue::Info) => Color::Cyan,
            (Palette::Dark | Palette::Light, Hue::Good) => Color::Green,
            (Palette::Colorblind, Hue::Good) => Color::LightBlue,
            (Palette::Dark | Palette::Colorblind, Hue::Warning) => Color::Yellow,
            (Palette::Light, Hue::Warning) => Color::Magenta,
            (Palette::Dark | Palette::Light, Hue::Critical) => Color::Red,
            (Palette::Colorblind, Hue::Critical) => Color::LightMagenta,
            (Palette::Dark, Hue::Closing) => Color::Magenta,
            (Palette::Light, Hue::Closing) => Color::Red,
            (Palette::Colorblind, Hue::Closing) => Color::Cyan,
            (_, Hue::Opening) => Color::Blue,
        }
    }

    fn tinted(self, hue: Hue, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.color {
            style.fg(self.color_of(hue))
        } else {
            style
        }
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
        self.tinted(Hue::Title, Modifier::BOLD)
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
            match self.palette {
                Palette::Light => style.fg(Color::White).bg(Color::Blue),
                Palette::Dark | Palette::Colorblind => style.fg(Color::Black).bg(Color::Yellow),
            }
        } else {
            style.add_modifier(Modifier::REVERSED)
        }
    }

    pub(super) fn good(self) -> Style {
        self.tinted(Hue::Good, Modifier::empty())
    }

    pub(super) fn severity(self, severity: Severity) -> Style {
        match severity {
            Severity::Info => self.tinted(Hue::Info, Modifier::empty()),
            Severity::Warning => self.tinted(Hue::Warning, Modifier::BOLD),
            Severity::Critical => self.tinted(Hue::Critical, Modifier::BOLD),
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
            TcpState::CloseWait => self.tinted(Hue::Warning, Modifier::BOLD),
            TcpState::LastAck | TcpState::Closing | TcpState::FinWait1 => {
                self.tinted(Hue::Closing, Modifier::empty())
            }
            TcpState::SynSent | TcpState::SynRecv | TcpState::NewSynRecv => {
                self.tinted(Hue::Opening, Modifier::empty())
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

    /// Eight heights of a bar, the lowest first.
    pub(super) fn bars(self) -> [&'static str; 8] {
        if self.ascii {
            ["_", ".", ".", "-", "-", "=", "=", "#"]
        } else {
            ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
        }
    }

    /// A character of a drawing, or what stands for it in ASCII.
    pub(super) fn stroke(self, drawn: char) -> char {
        match drawn {
            _ if !self.ascii => drawn,
            '─' => '-',
            '│' => '|',
            '┌' | '┐' | '└' | '┘' | '┬' | '┴' | '┼' | '├' | '┤' => '+',
            '▶' => '>',
            '◀' => '<',
            '▼' => 'v',
            '▲' => '^',
            other if other.is_ascii() => other,
            _ => '?',
        }
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
