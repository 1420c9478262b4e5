//! The file storage: Python's `Data.fs`, read and written so that Python and we can take turns.
//!
//! | module | owns |
//! |---|---|
//! | [`mod@format`] | the layout: bytes to headers and back, no I/O |
//! | [`disk`] | the medium: positional reads and writes, durability; a real file or memory |
//! | `index`, `index_file`, `sanity` | where each object's newest record lies; the `.index` file; whether to trust it |
//! | `window`, `scan`, `tail` | reading the whole file at open; what is whole, torn or damaged; cutting a torn tail |
//! | `append`, `commit`, `room` | laying out a transaction; vote and finish; *what a crash leaves behind* |
//! | `together` | transactions that are made durable by one sync |
//! | `view` | reading, as of one transaction |
//! | `past`, `undo` | walking over transactions, records and revisions; taking a transaction back, copying records |
//! | `lock` | keeping a second process away |
//! | `pack` | removing old revisions and garbage while the storage is in use; *what a crash leaves behind* |
//! | `open`, `storage` | putting it all together |
//!
//! `server/FILESTORAGE.md` has the layout byte by byte and the tables of open, commit and crash.
//!
//! ```no_run
//! use zeo_server::storage::file::{FileStorage, FileStorageOptions};
//! use zeo_server::storage::Storage;
//!
//! let storage = FileStorage::open("/data/Data.fs", FileStorageOptions::default())?;
//! println!("{} objects up to {}", storage.view().object_count(), storage.view().last_tid());
//! storage.close()?;
//! # Ok::<(), zeo_server::storage::StorageError>(())
//! ```

pub mod disk;
pub mod format;

mod append;
mod commit;
mod index;
mod index_file;
mod lock;
mod open;
mod pack;
mod pages;
mod past;
pub(crate) mod paths;
mod room;
mod sanity;
mod scan;
mod storage;
mod tail;
mod together;
mod undo;
mod view;
mod window;

#[cfg(test)]
mod tests;

pub use open::{CutTail, FileStorageOptions, IndexUse, OpenReport};
pub use storage::FileStorage;
pub use together::{TOGETHER_LEN_MAX, TOGETHER_MAX};

pub(crate) use paths::{create_folders, io_error, shown, sync_folder, with_suffix};
