//! Administration (protocol reference 7.6).

use super::Arguments;
use crate::args::{Args, Count};
use crate::emit::{Emit, EncodeError};
use crate::envelope::Body;
use crate::error::MessageError;
use crate::value::Value;

/// `pack(time)` or `pack(time, wait)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Pack {
    /// Everything that was superseded before this is removed; seconds since 1970, UTC.
    pub time: f64,
    /// Whether the reply waits for the end of the pack; Python's clients send a boolean or a number.
    pub wait: Option<Value<'static>>,
}

impl Pack {
    /// Whether the reply waits for the end of the pack, as it does by default.
    #[must_use]
    pub fn waits(&self) -> bool {
        !matches!(self.wait, Some(Value::Bool(false) | Value::Int(0) | Value::None))
    }
}

impl<'a> Arguments<'a> for Pack {
    const COUNT: Count = Count::between(1, 2);

    fn parse(args: &mut Args<'a>) -> Result<Self, MessageError> {
        let time = args.float()?;
        let wait = if args.has_more()? { Some(args.leaf_or_value()?.into_owned()) } else { None };
        Ok(Self { time, wait })
    }
}

impl Body for Pack {
    fn emit(&self, out: &mut impl Emit) -> Result<(), EncodeError> {
        let mut result = Ok(());
        out.tuple(1 + usize::from(self.wait.is_some()), |out| {
            out.float(self.time);
            if let Some(wait) = &self.wait {
                result = out.value(wait);
            }
        });
        result
    }
}
