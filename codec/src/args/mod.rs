//! The arguments of a call, or the items of a reply that is a tuple, taken one by one.
//!
//! Under both framings plain arguments are read straight from the frame. Only where a pickle holds more
//! than byte strings, text, numbers and lists of oids, the whole message is run through the pickle machine
//! and the cursor goes on over the values; the result is the same either way (a property test holds them
//! together).

mod direct;
mod plain;
mod raw;
mod take;

pub use plain::PlainItems;
pub(crate) use plain::{plain_msgpack, plain_pickle};
pub use raw::RawArgs;
pub(crate) use raw::msgpack_items;

use alloc::vec;

use crate::error::{Expected, MessageError, ShapeError};
use crate::limits::Limits;
use crate::msgpack::MsgpackReader;
use crate::pickle::Lexer;
use crate::pickle::op::code;
use crate::value::Value;
use direct::{direct_value, leaf};
use raw::{CLOSE, fourth_of_pickle};

/// How many items a tuple has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    min: usize,
    max: usize,
}

impl Count {
    /// Always `count`.
    #[must_use]
    pub const fn exactly(count: usize) -> Self {
        Self { min: count, max: count }
    }

    /// At least `min` and at most `max`: the last ones may be absent.
    #[must_use]
    pub const fn between(min: usize, max: usize) -> Self {
        Self { min, max }
    }
}

/// A cursor over the items of a tuple. Each method takes the next item.
///
/// All methods fail with [`MessageError::Shape`] if the item is missing or of another type, and with
/// [`MessageError::Undecodable`] if the message is damaged there.
#[derive(Debug, Clone)]
pub struct Args<'a> {
    source: Source<'a>,
    taken_count: usize,
    limits: Limits,
}

#[derive(Debug, Clone)]
enum Source<'a> {
    /// The arguments begin at `offset` of `frame`.
    Pickle {
        frame: &'a [u8],
        offset: usize,
        lexer: Lexer<'a>,
        is_marked: bool,
    },
    Msgpack {
        reader: MsgpackReader<'a>,
        left: usize,
    },
    Values(vec::IntoIter<Value<'a>>),
}

type Taken<T> = Result<T, MessageError>;

impl<'a> Args<'a> {
    /// The arguments of a pickle, which begin at `offset`.
    #[inline]
    pub(crate) fn of_pickle(frame: &'a [u8], offset: usize, limits: &Limits) -> Self {
        let mut lexer = Lexer::at(frame, offset);
        let is_marked = lexer.eat(code::MARK);
        Self { source: Source::Pickle { frame, offset, lexer, is_marked }, taken_count: 0, limits: *limits }
    }

    /// The next `left` items of a msgpack message.
    #[inline]
    pub(crate) const fn of_msgpack(reader: MsgpackReader<'a>, left: usize, limits: &Limits) -> Self {
        Self { source: Source::Msgpack { reader, left }, taken_count: 0, limits: *limits }
    }

    /// Checks how many items there are, before the type of any of them. Where a pickle is read directly they are
    /// not counted yet; there whatever is wrong is told by a second reading, of values ([`whole`]).
    ///
    /// [`whole`]: crate::call::whole
    #[inline]
    pub(crate) fn expect(&self, count: Count) -> Taken<()> {
        let given_count = match &self.source {
            Source::Pickle { .. } => return Ok(()),
            Source::Msgpack { left, .. } => *left,
            Source::Values(items) => items.len(),
        };
        let error = if given_count < count.min {
            ShapeError { index: given_count, expected: Expected::More }
        } else if given_count > count.max {
            ShapeError { index: count.max, expected: Expected::End }
        } else {
            return Ok(());
        };
        Err(error.into())
    }

    const fn shape(&self, expected: Expected) -> MessageError {
        MessageError::Shape(ShapeError { index: self.taken_count, expected })
    }

    /// Leaves the direct reading of a pickle: everything not yet taken becomes values.
    ///
    /// Opcodes behind a string can still take it back or wrap it (`POP`, `TUPLE2`), which no peer does. So
    /// what was taken is compared with what the machine says.
    #[cold]
    fn generalise(&mut self) -> Taken<()> {
        let Source::Pickle { frame, offset, is_marked, .. } = self.source else { return Ok(()) };
        let args = fourth_of_pickle(frame, offset, &self.limits)?;
        let (Value::Tuple(items) | Value::List(items)) = args else {
            return Err(MessageError::Shape(ShapeError { index: 0, expected: Expected::Sequence }));
        };
        let mut items = items.into_iter();
        let mut taken = Lexer::at(frame, offset + usize::from(is_marked));
        for index in 0..self.taken_count {
            let item = items.next();
            if item.is_none() || direct_value(&mut taken) != item {
                return Err(MessageError::Shape(ShapeError { index, expected: Expected::More }));
            }
        }
        self.source = Source::Values(items);
        Ok(())
    }

    /// Whether a pickle ends here as it must if exactly the taken items are the arguments.
    #[inline]
    fn is_closed(lexer: &Lexer<'_>, is_marked: bool, taken_count: usize) -> bool {
        let close = match (is_marked, taken_count) {
            (true, _) => code::TUPLE,
            (false, 0) => code::EMPTY_TUPLE,
            (false, 1) => code::TUPLE1,
            (false, 2) => code::TUPLE2,
            (false, 3) => code::TUPLE3,
            (false, _) => return false,
        };
        lexer.rest() == [close, CLOSE[0], CLOSE[1]]
    }

    /// Whether another item follows.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn has_more(&mut self) -> Taken<bool> {
        if let Source::Pickle { lexer, is_marked, .. } = &self.source {
            if Self::is_closed(lexer, *is_marked, self.taken_count) {
                return Ok(false);
            }
            if leaf(&mut lexer.clone()).is_some() {
                return Ok(true);
            }
            self.generalise()?;
        }
        Ok(match &self.source {
            Source::Msgpack { left, .. } => *left > 0,
            Source::Values(items) => items.len() > 0,
            Source::Pickle { .. } => true,
        })
    }

    /// Checks that everything has been taken.
    ///
    /// # Errors
    /// See [`Args`]; [`Expected::End`] if there is more.
    #[inline]
    pub fn finish(mut self) -> Taken<()> {
        self.end()
    }

    /// [`Self::finish`] in place.
    #[inline]
    pub(crate) fn end(&mut self) -> Taken<()> {
        match &self.source {
            Source::Pickle { lexer, is_marked, .. }
                if Self::is_closed(lexer, *is_marked, self.taken_count) =>
            {
                Ok(())
            }
            Source::Msgpack { reader, left: 0 } => Ok(reader.end()?),
            Source::Pickle { .. } | Source::Msgpack { .. } | Source::Values(_) => self.other_end(),
        }
    }

    #[cold]
    fn other_end(&mut self) -> Taken<()> {
        self.generalise()?;
        match &self.source {
            Source::Values(items) if items.len() == 0 => Ok(()),
            Source::Values(_) | Source::Pickle { .. } | Source::Msgpack { .. } => {
                Err(self.shape(Expected::End))
            }
        }
    }

    /// The next item, whatever it is.
    ///
    /// # Errors
    /// See [`Args`].
    pub fn value(&mut self) -> Taken<Value<'a>> {
        self.generalise()?;
        let value = match &mut self.source {
            Source::Msgpack { left: 0, .. } => return Err(self.shape(Expected::More)),
            Source::Msgpack { reader, left } => {
                *left -= 1;
                // The tuple of the arguments is a level of its own.
                let depth = self.limits.depth.saturating_sub(1);
                reader.value(&Limits { depth, ..self.limits })?
            }
            Source::Values(items) => match items.next() {
                Some(value) => value,
                None => return Err(self.shape(Expected::More)),
            },
            Source::Pickle { .. } => return Err(self.shape(Expected::More)),
        };
        self.taken_count += 1;
        Ok(value)
    }

    /// Puts the place of the value just taken into an error.
    pub(crate) const fn bad(&self, expected: Expected) -> MessageError {
        MessageError::Shape(ShapeError { index: self.taken_count.saturating_sub(1), expected })
    }
}
