//! Beginning a session (protocol reference 7.1).

use alloc::borrow::Cow;

use super::Arguments;
use crate::args::{Args, Count};
use crate::emit::{Emit, EncodeError};
use crate::envelope::Body;
use crate::error::MessageError;
use crate::value::Value;

/// `register(storage, read_only)`. Answered with the last tid by ZEO 5, with `None` by ZEO 4.
#[derive(Debug, Clone, PartialEq)]
pub struct Register<'a> {
    /// Name of the storage, `"1"` unless configured otherwise.
    pub storage: Cow<'a, str>,
    /// What the client sent as its wish to only read: `False`, `True` or a number.
    pub read_only: Value<'a>,
    /// Credentials of ZEO 5.0 to 5.3 clients, which no standard server takes.
    pub credentials: Option<Value<'a>>,
}

impl Register<'_> {
    /// Whether the client wants to only read.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        !matches!(self.read_only, Value::Bool(false) | Value::Int(0) | Value::None)
    }
}

impl<'a> Arguments<'a> for Register<'a> {
    const COUNT: Count = Count::between(2, 3);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        let storage = args.text()?;
        let read_only = args.leaf_or_value()?;
        let credentials = if args.has_more()? { Some(args.value()?) } else { None };
        Ok(Self { storage, read_only, credentials })
    }
}

impl Body for Register<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(2 + usize::from(self.credentials.is_some()), |out| {
            out.text(&self.storage);
            result = out.value(&self.read_only);
            if let Some(credentials) = &self.credentials {
                result = result.and_then(|()| out.value(credentials));
            }
        });
        result
    }
}

/// `set_client_label(label)`, one-way: what the client is called in the server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetClientLabel<'a> {
    /// The label.
    pub label: Cow<'a, str>,
}

impl<'a> Arguments<'a> for SetClientLabel<'a> {
    const COUNT: Count = Count::exactly(1);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        Ok(Self { label: args.text()? })
    }
}

impl Body for SetClientLabel<'_> {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        out.tuple(1, |out| out.text(&self.label));
        Ok(())
    }
}
