//! Packing the changes of a demo storage (`ZODB/DemoStorage.py:pack`, ZODB 6.4).

use std::sync::Arc;

use zeo_codec::{Oid, Tid};

use super::DemoStorage;
use super::view::DemoView;
use crate::storage::{CommitsStopped, PackHost, PackOutcome, PackRequest, StorageError, View};

/// Packs the changes; never with garbage collection, as the base may refer to them.
pub(super) fn pack(
    demo: &DemoStorage,
    request: PackRequest,
    host: &dyn PackHost,
) -> Result<PackOutcome, StorageError> {
    demo.changes.pack(PackRequest { gc: Some(false), ..request }, &WithBase { demo, host })
}

/// The host, which is shown views of both.
struct WithBase<'h> {
    demo: &'h DemoStorage,
    host: &'h dyn PackHost,
}

impl PackHost for WithBase<'_> {
    fn is_cancelled(&self) -> bool {
        self.host.is_cancelled()
    }

    fn stop_commits(&self) -> Option<Box<dyn CommitsStopped + '_>> {
        self.host.stop_commits()
    }

    fn packed(&self, changes: Arc<dyn View>) {
        let view: DemoView = self.demo.view_with(changes);
        self.host.packed(Arc::new(view));
    }

    fn wants_removed_blobs(&self) -> bool {
        self.host.wants_removed_blobs()
    }

    fn removed_blob(&self, oid: Oid, serial: Tid) -> Result<(), StorageError> {
        self.host.removed_blob(oid, serial)
    }
}
