//! What the embedded broker does beyond the emulator's common ground, or by its own decision.
