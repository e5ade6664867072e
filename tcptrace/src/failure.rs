//! Why a run failed, and the exit code that says so.
