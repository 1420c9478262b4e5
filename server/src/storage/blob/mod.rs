//! Blobs: files beside a storage, one for each revision of a blob object.
//!
//! | module | owns |
//! |---|---|
//! | `directory` | a blob directory: opening, reading, taking files in |
//! | `durable` | syncing |
//! | `staged` | files on their way in, and *what a crash leaves of them* |
//! | `pack` | removing files with the records that name them |
//! | `storage` | [`BlobStorage`]: any storage, with a blob directory beside it |
//!
//! Python has two ways to the same thing: `blob-dir` of a `<filestorage>` and `<blobstorage>` around any storage.
//! They announce the same abilities and leave the same files, so here both are [`BlobStorage`].
//!
//! The names, oid and tid to path and back, are those that a client with a shared directory needs, too: [`layout`].
//! `server/BLOBS.md` has the layout and the table of crashes.

mod directory;
mod durable;
mod pack;
mod staged;
mod storage;

#[cfg(test)]
mod tests;

pub use directory::{BlobDirectory, BlobDirectoryOptions};
pub use staged::{StagedBlob, Upload};
pub use storage::BlobStorage;
pub use zeo_client::blob::layout;
