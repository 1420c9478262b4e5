//! Conformance tools for ZEO: live Python peers.
