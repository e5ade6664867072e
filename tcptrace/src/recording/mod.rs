//! The NDJSON recording: its format, its writer and its reader.
