//! Screens, drawn on a TestBackend.
