//! The pickle machine that only looks for references.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::id::Oid;
use crate::pickle::op::code;
use crate::pickle::{Lexer, Op};

/// What is remembered of a value: nine bytes, whatever the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    /// Eight bytes, or eight characters of ASCII: a Python 3 pickler got the oids of Python 2 as such.
    Oid(Oid),
    /// A tuple whose first item is one.
    TupleOfOid(Oid),
    /// As a reference: a weak one, or one to another database.
    List,
    /// Nothing that can be a reference.
    Other,
}

/// Runs the pickles of a record one after the other.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    record: &'a [u8],
    /// Offset of the next byte to be read.
    offset: usize,
    stack: Vec<Item>,
    /// Heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: Memo,
}

impl<'a> Machine<'a> {
    pub(super) fn new(record: &'a [u8]) -> Self {
        Self { record, offset: 0, stack: Vec::new(), marks: Vec::new(), memo: Memo::default() }
    }

    /// Runs the next pickle up to its end.
    pub(super) fn run(&mut self, found: &mut Vec<Oid>) -> Result<(), DecodeError> {
        self.stack.clear();
        self.marks.clear();
        loop {
            let offset = self.offset;
            let failed = |kind| DecodeError::new(offset, kind);
            let [opcode] = self.array().map_err(failed)?;
            if opcode == code::STOP {
                return self.pop(1).map_err(failed);
            }
            self.execute(opcode, found).map_err(failed)?;
        }
    }

    fn execute(&mut self, opcode: u8, found: &mut Vec<Oid>) -> Result<(), Kind> {
        match opcode {
            code::MARK => self.marks.push(self.stack.len()),
            code::POP if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            code::POP => self.pop(1)?,
            code::POP_MARK => drop(self.pop_to_mark()?),
            code::DUP => self.stack.push(self.top()?),
            code::NONE | code::NEWTRUE | code::NEWFALSE | code::EMPTY_DICT | code::EMPTY_SET => self.other(),
            code::EMPTY_TUPLE => self.other(),
            code::TUPLE1 => self.tuple_of(1)?,
            code::TUPLE2 => self.tuple_of(2)?,
            code::TUPLE3 => self.tuple_of(3)?,
            code::TUPLE => {
                let first = self.pop_to_mark()?;
                self.stack.push(tuple(first));
            }
            code::EMPTY_LIST => self.stack.push(Item::List),
            code::LIST => {
                self.pop_to_mark()?;
                self.stack.push(Item::List);
            }
            code::DICT | code::FROZENSET | code::OBJ => {
                self.pop_to_mark()?;
                self.other();
            }
            code::APPEND | code::BUILD => self.pop(1)?,
            code::SETITEM => self.pop(2)?,
            code::APPENDS | code::SETITEMS | code::ADDITEMS => drop(self.pop_to_mark()?),
            code::REDUCE | code::NEWOBJ | code::STACK_GLOBAL => {
                self.pop(2)?;
                self.other();
            }
            code::NEWOBJ_EX => {
                self.pop(3)?;
                self.other();
            }
            code::BINPERSID => {
                let reference = self.top()?;
                self.pop(1)?;
                self.refer(reference, found)?;
            }
            code::PERSID => {
                let reference = string(self.line()?);
                self.refer(reference, found)?;
            }
            code::MEMOIZE => self.memo.put(self.memo.count, self.top()?),
            code::READONLY_BUFFER => {}
            code::NEXT_BUFFER => return Err(Kind::OutOfBandBuffer),
            _ => self.execute_with_operand(opcode)?,
        }
        Ok(())
    }

    /// Opcodes with an operand that makes no reference.
    fn execute_with_operand(&mut self, opcode: u8) -> Result<(), Kind> {
        match opcode {
            code::PROTO => {
                let [protocol] = self.array()?;
                if protocol > 5 {
                    return Err(Kind::UnknownProtocol(protocol));
                }
            }
            code::FRAME => drop(self.array::<8>()?),
            code::BININT1 | code::EXT1 => self.skip(1)?,
            code::BININT2 | code::EXT2 => self.skip(2)?,
            code::BININT | code::EXT4 => self.skip(4)?,
            code::BINFLOAT => self.skip(8)?,
            code::LONG1 => {
                let [len] = self.array()?;
                self.skip(usize::from(len))?;
            }
            code::LONG4 => {
                let len = self.length_signed()?;
                self.skip(len)?;
            }
            code::INT | code::LONG | code::FLOAT => {
                self.line()?;
                self.other();
            }
            code::GLOBAL => {
                self.line()?;
                self.line()?;
                self.other();
            }
            code::INST => {
                self.line()?;
                self.line()?;
                self.pop_to_mark()?;
                self.other();
            }
            code::BINGET => {
                let [index] = self.array()?;
                self.get(index.into())?;
            }
            code::LONG_BINGET => {
                let index = self.array().map(u32::from_le_bytes)?;
                self.get(index)?;
            }
            code::BINPUT => {
                let [index] = self.array()?;
                self.memo.put(index.into(), self.top()?);
            }
            code::LONG_BINPUT => {
                let index = self.array().map(u32::from_le_bytes)?;
                self.memo.put(index, self.top()?);
            }
            _ => self.execute_string(opcode)?,
        }
        Ok(())
    }

    /// Opcodes that push a string, and the rare rest.
    fn execute_string(&mut self, opcode: u8) -> Result<(), Kind> {
        let len = match opcode {
            code::SHORT_BINBYTES | code::SHORT_BINSTRING | code::SHORT_BINUNICODE => {
                let [len] = self.array()?;
                usize::from(len)
            }
            code::BINBYTES | code::BINUNICODE => {
                usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_wide| Kind::Truncated)?
            }
            code::BINSTRING => self.length_signed()?,
            code::BINBYTES8 | code::BINUNICODE8 | code::BYTEARRAY8 => {
                usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_wide| Kind::Truncated)?
            }
            _ => return self.execute_line(opcode),
        };
        let bytes = self.take(len)?;
        self.stack.push(match opcode {
            code::SHORT_BINUNICODE | code::BINUNICODE | code::BINUNICODE8 if !bytes.is_ascii() => Item::Other,
            code::BYTEARRAY8 => Item::Other,
            _ => string(bytes),
        });
        Ok(())
    }

    /// Opcodes of protocol 0 whose operand is a line that has to be understood.
    fn execute_line(&mut self, opcode: u8) -> Result<(), Kind> {
        if !matches!(opcode, code::STRING | code::UNICODE | code::GET | code::PUT) {
            return Err(Kind::UnknownOpcode(opcode));
        }
        let lexed = Lexer::at(self.record, self.offset.saturating_sub(1)).next_op();
        self.line()?;
        match lexed.map_err(|error| error.kind) {
            Ok(Op::Native(bytes)) => self.stack.push(string(&bytes)),
            Ok(Op::Text(text)) if text.is_ascii() => self.stack.push(string(text.as_bytes())),
            // Python's text may hold what Unicode has no characters for; an oid it is not.
            Ok(Op::Text(_)) | Err(Kind::BadText) if opcode == code::UNICODE => self.other(),
            Ok(Op::Get(index)) => self.get(index)?,
            Ok(Op::Put(index)) => self.memo.put(index, self.top()?),
            Ok(_) => return Err(Kind::BadOperand(opcode)),
            Err(kind) => return Err(kind),
        }
        Ok(())
    }

    /// `BINPERSID`, `PERSID`: the machine goes on with nothing in place of the object.
    fn refer(&mut self, reference: Item, found: &mut Vec<Oid>) -> Result<(), Kind> {
        match reference {
            Item::Oid(oid) | Item::TupleOfOid(oid) => found.push(oid),
            Item::List => {}
            Item::Other => return Err(Kind::BadOperand(code::BINPERSID)),
        }
        self.other();
        Ok(())
    }

    fn other(&mut self) {
        self.stack.push(Item::Other);
    }

    fn top(&self) -> Result<Item, Kind> {
        self.stack.last().copied().ok_or(Kind::StackUnderflow)
    }

    fn pop(&mut self, count: usize) -> Result<(), Kind> {
        let height = self.stack.len().checked_sub(count).ok_or(Kind::StackUnderflow)?;
        self.stack.truncate(height);
        Ok(())
    }

    /// Removes everything above the last mark, and the mark; the first of it.
    fn pop_to_mark(&mut self) -> Result<Option<Item>, Kind> {
        let height = self.marks.pop().ok_or(Kind::NoMark)?;
        let first = self.stack.get(height).copied();
        self.stack.truncate(height);
        Ok(first)
    }

    fn tuple_of(&mut self, count: usize) -> Result<(), Kind> {
        let height = self.stack.len().checked_sub(count).ok_or(Kind::StackUnderflow)?;
        let first = self.stack.get(height).copied();
        self.stack.truncate(height);
        self.stack.push(tuple(first));
        Ok(())
    }

    fn get(&mut self, index: u32) -> Result<(), Kind> {
        let item = self.memo.get(index).ok_or(Kind::NoMemo(index))?;
        self.stack.push(item);
        Ok(())
    }

    /// Passes over `len` bytes that make a value.
    fn skip(&mut self, len: usize) -> Result<(), Kind> {
        self.take(len)?;
        self.other();
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Kind> {
        let end = self.offset.checked_add(len).ok_or(Kind::Truncated)?;
        let bytes = self.record.get(self.offset..end).ok_or(Kind::Truncated)?;
        self.offset = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Kind> {
        self.take(N)?.try_into().map_err(|_short| Kind::Truncated)
    }

    /// The length of `BINSTRING` and `LONG4` is signed.
    fn length_signed(&mut self) -> Result<usize, Kind> {
        usize::try_from(i32::from_le_bytes(self.array()?)).map_err(|_negative| Kind::NegativeLength)
    }

    /// Up to the next newline, which is passed over.
    fn line(&mut self) -> Result<&'a [u8], Kind> {
        let rest = self.record.get(self.offset..).unwrap_or_default();
        let len = rest.iter().position(|byte| *byte == b'\n').ok_or(Kind::Truncated)?;
        let line = self.take(len)?;
        self.offset += 1;
        Ok(line)
    }
}

fn string(bytes: &[u8]) -> Item {
    Oid::from_slice(bytes).map_or(Item::Other, Item::Oid)
}

const fn tuple(first: Option<Item>) -> Item {
    match first {
        Some(Item::Oid(oid)) => Item::TupleOfOid(oid),
        Some(Item::TupleOfOid(_) | Item::List | Item::Other) | None => Item::Other,
    }
}

/// Values by number. Picklers number in sequence; the others must not take more room than their opcodes.
#[derive(Debug, Default)]
struct Memo {
    sequence: Vec<Option<Item>>,
    others: BTreeMap<u32, Item>,
    /// How many values have been put, which is the number of the next one for `MEMOIZE`.
    count: u32,
}

/// How far a number may lie behind the sequence to be kept in it, beside as many places as have been put:
/// pickles without unused entries have gaps.
const GAP_MAX: usize = 16;

impl Memo {
    fn put(&mut self, index: u32, item: Item) {
        self.count = self.count.saturating_add(1);
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let place_count_max = usize::try_from(self.count).unwrap_or(usize::MAX).saturating_mul(2);
        if at < place_count_max.saturating_add(GAP_MAX) {
            if at >= self.sequence.len() {
                self.sequence.resize(at + 1, None);
            }
            if let Some(place) = self.sequence.get_mut(at) {
                *place = Some(item);
            }
        } else {
            self.others.insert(index, item);
        }
    }

    fn get(&self, index: u32) -> Option<Item> {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        self.sequence.get(at).copied().flatten().or_else(|| self.others.get(&index).copied())
    }
}
