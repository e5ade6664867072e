//! The loop that every mode shares: facts in, engine, consumers out.
