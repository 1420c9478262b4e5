//! ZEO, byte for byte: a zero-copy, sans-IO codec.
#![no_std]

extern crate alloc;

mod args;
pub mod call;
mod dialect;
mod emit;
mod envelope;
mod error;
pub mod frame;
pub mod handshake;
mod id;
mod limits;
pub mod msgpack;
pub mod pickle;
mod reply;
pub mod session;
mod value;

pub use args::{Args, RawArgs};
pub use call::{Call, Method};
pub use dialect::{Dialect, ErrorShape, Generation};
pub use emit::{Emit, EncodeError};
pub use envelope::{Body, Envelope, Flag, MsgId, REPLY, write_message};
pub use error::{DecodeError, DecodeErrorKind, Expected, MessageError, ShapeError};
pub use id::{Oid, Tid};
pub use limits::Limits;
pub use reply::{Conflict, RemoteError, Reply, VoteItem};
pub use value::{Construction, Global, Object, Value};
