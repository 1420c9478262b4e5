//! Values that hold others: classes and their instances, lists, dicts, tuples, sets.

use super::PickleWriter;
use crate::emit::{Emit as _, EncodeError};
use crate::pickle::op::code;
use crate::value::{Construction, Global, Object, Value};

/// Items in one `APPENDS` or `SETITEMS` (CPython `_pickle.c`, `BATCHSIZE`).
pub(super) const BATCH_LEN: usize = 1000;

/// Whose items are written: CPython has a loop of its own for plain lists and dicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Builtin,
    Subclass,
}

impl PickleWriter<'_> {
    pub(super) fn global(&mut self, global: &Global<'_>) -> Result<(), EncodeError> {
        if global.module.contains('\n') || global.name.contains('\n') {
            return Err(EncodeError);
        }
        self.out.push(code::GLOBAL);
        for name in [&global.module, &global.name] {
            self.out.extend_from_slice(name.as_bytes());
            self.out.push(b'\n');
        }
        self.memoize();
        Ok(())
    }

    pub(super) fn object(&mut self, object: &Object<'_>) -> Result<(), EncodeError> {
        match object.construction {
            Construction::Instance => {
                self.out.push(code::MARK);
                self.value(&object.callable)?;
                for arg in object.args.as_sequence().ok_or(EncodeError)? {
                    self.value(arg)?;
                }
                self.out.push(code::OBJ);
            }
            Construction::Reduce | Construction::New => {
                self.value(&object.callable)?;
                self.value(&object.args)?;
                if let Some(kwargs) = &object.kwargs {
                    self.value(kwargs)?;
                    self.out.push(code::NEWOBJ_EX);
                } else if object.construction == Construction::New {
                    self.out.push(code::NEWOBJ);
                } else {
                    self.out.push(code::REDUCE);
                }
            }
        }
        self.memoize();
        self.append_all(&object.list_items, Of::Subclass)?;
        self.set_all(&object.dict_items, Of::Subclass)?;
        if let Some(state) = &object.state {
            self.value(state)?;
            self.out.push(code::BUILD);
        }
        Ok(())
    }

    pub(super) fn append_all(&mut self, items: &[Value<'_>], of: Of) -> Result<(), EncodeError> {
        let mut result = Ok(());
        self.batches(items.iter(), of, code::APPEND, code::APPENDS, |writer, item| {
            result = result.and_then(|()| writer.value(item));
        });
        result
    }

    pub(super) fn set_all(&mut self, pairs: &[(Value<'_>, Value<'_>)], of: Of) -> Result<(), EncodeError> {
        let mut result = Ok(());
        self.batches(pairs.iter(), of, code::SETITEM, code::SETITEMS, |writer, (key, value)| {
            result = result.and_then(|()| writer.key(key)).and_then(|()| writer.value(value));
        });
        if of == Of::Builtin {
            self.end_dict(pairs.len());
        }
        result
    }

    /// CPython's `batch_dict_exact` looks for more whenever a batch was full: a dict of a multiple of 1,000
    /// items ends in an empty batch. `batch_list_exact` does not.
    pub(super) fn end_dict(&mut self, len: usize) {
        if len > 0 && len.is_multiple_of(BATCH_LEN) {
            self.out.extend_from_slice(&[code::MARK, code::SETITEMS]);
        }
    }

    /// Nothing for no item, `single` behind one item, else batches between `MARK` and `many`. Only the items
    /// of subclasses may have `single` behind the last of several batches.
    pub(super) fn batches<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        of: Of,
        single: u8,
        many: u8,
        mut item: impl FnMut(&mut Self, T),
    ) {
        let len = items.len();
        let is_alone = |index: usize| {
            index + 1 == len && (index == 0 || of == Of::Subclass && index.is_multiple_of(BATCH_LEN))
        };
        for (index, next) in items.enumerate() {
            if index.is_multiple_of(BATCH_LEN) && !is_alone(index) {
                self.out.push(code::MARK);
            }
            item(self, next);
            if is_alone(index) {
                self.out.push(single);
            } else if index + 1 == len || (index + 1).is_multiple_of(BATCH_LEN) {
                self.out.push(many);
            }
        }
    }

    pub(super) fn tuple_values(&mut self, items: &[Value<'_>]) -> Result<(), EncodeError> {
        let mut result = Ok(());
        self.tuple(items.len(), |writer| {
            result = items.iter().try_for_each(|item| writer.value(item));
        });
        if !items.is_empty() {
            self.memoize();
        }
        result
    }

    pub(super) fn marked(&mut self, items: &[Value<'_>], end: u8) -> Result<(), EncodeError> {
        self.out.push(code::MARK);
        items.iter().try_for_each(|item| self.value(item))?;
        self.out.push(end);
        Ok(())
    }
}
