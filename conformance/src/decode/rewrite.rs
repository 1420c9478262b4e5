use bytes::Bytes;
use zeo_codec::frame::LENGTH_LEN;
use zeo_codec::session::Observed;
use zeo_codec::{
    Body, Call, DecodeError, Dialect, EncodeError, Envelope, Limits, MessageError, Method, REPLY,
    RemoteError, Reply, write_message_behind,
};

/// Why a message cannot be written again.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RewriteError {
    /// It cannot be told apart from its neighbours, or has no rules: nobody has greeted.
    #[error("there are no messages here")]
    NoMessage,
    /// It is no message.
    #[error("undecodable: {0}")]
    Undecodable(DecodeError),
    /// The name of its method is no text.
    #[error("the name of the method is no text")]
    MethodName,
    /// It is not what such a call, result or error looks like.
    #[error("{}: {error}", method.map_or("?", Method::name))]
    Untyped {
        /// The method of the call, or of the call that it answers, if it is known.
        method: Option<Method>,
        /// What is wrong.
        error: MessageError,
    },
    /// The framing cannot express it.
    #[error("it cannot be written")]
    Unwritable(EncodeError),
}

/// Reads a message into types, as far as the codec has them, and writes it again: without the length.
///
/// # Errors
/// [`RewriteError`] says how far it came.
pub fn rewrite(
    payload: &Bytes,
    observed: &Observed,
    dialect: Option<&Dialect>,
) -> Result<Vec<u8>, RewriteError> {
    let (method, is_reply, is_error) = match observed {
        // A greeting has no parts.
        Observed::Hello(greeting) => return Ok(greeting.to_vec()),
        Observed::Call { method, .. } => (*method, false, false),
        Observed::Reply { method, is_error, .. } => (*method, true, *is_error),
        Observed::KeepAlive => (Some(Method::Ping), true, false),
        Observed::Undecodable { error, .. } => return Err(RewriteError::Undecodable(*error)),
        Observed::Lost(_) | Observed::Skipped(_) | Observed::BadMac => return Err(RewriteError::NoMessage),
    };
    let dialect = dialect.ok_or(RewriteError::NoMessage)?;
    let limits = Limits::DEFAULT;
    let envelope = Envelope::parse(payload, dialect.framing, &limits).map_err(RewriteError::Undecodable)?;
    let dialect = dialect.with_pickle(envelope.flavor);
    let args = envelope.args.clone();
    let untyped = |error| RewriteError::Untyped { method, error };
    if is_reply && is_error {
        let error = RemoteError::parse(args, &limits).map_err(untyped)?;
        write(&dialect, &envelope, REPLY, &error)
    } else if is_reply {
        let reply = Reply::parse(method, args, &limits).map_err(untyped)?;
        write(&dialect, &envelope, REPLY, &reply)
    } else if let Some(method) = method {
        let call = Call::parse(method, args, &limits).map_err(untyped)?;
        write(&dialect, &envelope, method.name(), &call)
    } else {
        // A method that nobody knows: its arguments are any values.
        let name = str::from_utf8(&envelope.name).map_err(|_| RewriteError::MethodName)?;
        let args = args.into_value(&limits).map_err(RewriteError::Undecodable)?;
        write(&dialect, &envelope, name, &args)
    }
}

fn write(
    dialect: &Dialect,
    envelope: &Envelope<'_>,
    name: &str,
    body: &impl Body,
) -> Result<Vec<u8>, RewriteError> {
    let mut frame = Vec::new();
    write_message_behind(&mut frame, dialect, envelope.abandoned, &envelope.id, envelope.flag, name, body)
        .map_err(RewriteError::Unwritable)?;
    Ok(frame.split_off(LENGTH_LEN))
}
