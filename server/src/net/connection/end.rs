//! Why connections end.

use std::io;

use zeo_codec::DecodeErrorKind;
use zeo_codec::frame::FrameError;
use zeo_codec::session::SessionError;

use crate::engine::{Closing, Peer};
use crate::limits::Limit;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("{0}")]
    Session(#[from] SessionError),
    #[error("{0}")]
    Engine(#[from] Closing),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the client reads nothing")]
    WriteTimeout,
    #[error("the commit panicked; whether it is on the disk is unknown")]
    CommitPanicked,
}

impl End {
    /// The limit that was reached, if that is why.
    pub(super) fn limit(&self, peer: &Peer) -> Option<Limit> {
        let is_registered = peer.is_registered();
        match self {
            Self::Session(SessionError::Frame(FrameError::TooLong { .. })) if is_registered => {
                Some(Limit::Frame)
            }
            Self::Session(SessionError::Frame(FrameError::TooLong { .. })) => Some(Limit::EarlyFrame),
            Self::Session(SessionError::HandshakeTimeout | SessionError::RegistrationTimeout) => {
                Some(Limit::Handshake)
            }
            Self::Session(SessionError::Undecodable(error)) | Self::Engine(Closing::Undecodable(error)) => {
                matches!(error.kind, DecodeErrorKind::TooDeep | DecodeErrorKind::TooManyValues)
                    .then_some(Limit::Message)
            }
            Self::Engine(Closing::TooSlow(_)) => Some(Limit::UnreadCommits),
            Self::Engine(Closing::TooMuchUnread(_)) => Some(Limit::UnreadObjects),
            Self::Engine(Closing::TransactionTimeout(_)) => Some(Limit::Transaction),
            Self::WriteTimeout if peer.holds_commit_lock() => Some(Limit::HolderUnread),
            Self::WriteTimeout => Some(Limit::Unread),
            Self::Session(_) | Self::Engine(_) | Self::Io(_) | Self::CommitPanicked => None,
        }
    }
}
