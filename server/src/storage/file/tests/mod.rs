//! Tests of the whole file storage.
