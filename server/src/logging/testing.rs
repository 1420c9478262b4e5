//! The log as a test sees it.

use tracing_subscriber::layer::SubscriberExt;

use super::{LogConfig, LogFile, LogTarget, open};

/// What this thread logs during `body`, at INFO and above, as it stands in a file by default.
pub(crate) fn logged(body: impl FnOnce()) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zeo.log");
    let mut config = LogConfig::default();
    let file = LogFile { path: path.clone(), rotation: None, is_delayed: false };
    config.handlers[0].target = LogTarget::File(file);
    let (layer, _) = open(&config).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), body);
    std::fs::read_to_string(path).unwrap()
}
