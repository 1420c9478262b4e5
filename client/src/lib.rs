//! The reference ZEO client. Not written yet: see the project's README for what works.
