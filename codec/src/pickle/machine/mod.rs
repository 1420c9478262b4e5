//! From opcodes to a value: Python's unpickling machine, with symbols in place of classes and calls.
//!
//! The machine works on a flat arena of nodes that refer to each other by number, because the memo lets
//! several places share one list that is filled later. When `STOP` is reached the arena is turned into a
//! tree; only there sharing and cycles matter, and only there depth and size are bounded.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;

use super::lex::Lexer;
use super::op::{Op, code};
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::limits::Limits;
use crate::value::{Construction, Global, Value};
use memo::Memo;
use tree::Tree;

mod memo;
mod tree;

/// Decodes the pickle at the start of `pickle` and ignores what follows its `STOP`, as Python does.
///
/// # Errors
/// Anything a [`DecodeError`] can say, at the offset of the opcode that could not be executed.
pub fn decode<'a>(pickle: &'a [u8], limits: &Limits) -> Result<Value<'a>, DecodeError> {
    decode_prefix(pickle, limits).map(|(value, _)| value)
}

/// Like [`decode`], and returns the number of bytes up to and including `STOP`.
///
/// # Errors
/// As [`decode`].
pub fn decode_prefix<'a>(pickle: &'a [u8], limits: &Limits) -> Result<(Value<'a>, usize), DecodeError> {
    let mut lexer = Lexer::new(pickle);
    let value = Machine::new(limits.value_count).run(&mut lexer, limits)?;
    Ok((value, lexer.offset()))
}

/// Decodes two pickles back to back, where the memo of the first goes on in the second: what a pickler writes that dumps
/// twice and is not told to forget.
///
/// # Errors
/// As [`decode`].
pub fn decode_pair<'a>(pickles: &'a [u8], limits: &Limits) -> Result<[Value<'a>; 2], DecodeError> {
    let mut lexer = Lexer::new(pickles);
    let mut machine = Machine::new(limits.value_count);
    Ok([machine.run(&mut lexer, limits)?, machine.run(&mut lexer, limits)?])
}

/// Decodes the pickle at the start of `pickle`, and tells how many marks, and how many values, it leaves below its own: those of
/// pickles that were begun in front of it and never ended.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_above<'a>(
    pickle: &'a [u8],
    limits: &Limits,
) -> Result<(Value<'a>, [usize; 2]), DecodeError> {
    let mut machine = Machine::new(limits.value_count);
    let value = machine.run(&mut Lexer::new(pickle), limits)?;
    Ok((value, [machine.marks.len(), machine.stack.len()]))
}

type NodeId = u32;

/// A value under construction.
#[derive(Debug)]
enum Node<'a> {
    Leaf(Value<'a>),
    Tuple(Items),
    List(Vec<NodeId>),
    /// Keys and values in turn.
    Dict(Vec<NodeId>),
    Set(Vec<NodeId>),
    FrozenSet(Items),
    Persistent(NodeId),
    Object(Box<ObjectNode>),
}

/// What a value has in it that is complete when it is made: a part of [`Machine::items`].
#[derive(Debug, Clone, Copy)]
struct Items {
    start: usize,
    end: usize,
}

/// For how many values an object counts, by the memory that it takes.
const OBJECT_COST: usize = 3;

#[derive(Debug)]
struct ObjectNode {
    construction: Construction,
    callable: NodeId,
    args: NodeId,
    kwargs: Option<NodeId>,
    state: Option<NodeId>,
    list_items: Vec<NodeId>,
    dict_items: Vec<NodeId>,
}

#[derive(Debug)]
struct Machine<'a> {
    nodes: Vec<Node<'a>>,
    /// What is in the tuples.
    items: Vec<NodeId>,
    stack: Vec<NodeId>,
    /// Heights of the stack at which marks were set.
    marks: Vec<usize>,
    memo: Memo,
    /// Greatest number of nodes, and of entries of the stack, the marks and the memo.
    count_max: usize,
    /// How many more nodes there may be.
    budget: usize,
}

impl<'a> Machine<'a> {
    fn new(count_max: usize) -> Self {
        Self {
            nodes: Vec::new(),
            items: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Memo::default(),
            count_max,
            budget: count_max,
        }
    }

    /// Runs the next pickle up to its `STOP`.
    fn run(&mut self, lexer: &mut Lexer<'a>, limits: &Limits) -> Result<Value<'a>, DecodeError> {
        self.stack.clear();
        self.marks.clear();
        let root = loop {
            let offset = lexer.offset();
            let failed = |kind| DecodeError::new(offset, kind);
            match lexer.next_op()? {
                Op::Stop => break self.pop().map_err(failed)?,
                op => self.execute(op).map_err(failed)?,
            }
        };
        let end = lexer.offset();
        // Without sharing every value takes at least one opcode. The factor leaves room for honest sharing.
        let budget = limits.value_count.min(end.saturating_mul(4).saturating_add(64));
        let tree = Tree::new(&self.nodes, &self.items, budget, limits.depth);
        tree.root(root).map_err(|kind| DecodeError::new(end.saturating_sub(1), kind))
    }

    fn execute(&mut self, op: Op<'a>) -> Result<(), Kind> {
        match op {
            Op::Proto(_) | Op::Frame(_) | Op::Stop => Ok(()),
            Op::Mark => self.mark(),
            Op::Pop => self.pop_value_or_mark(),
            Op::PopMark => self.pop_to_mark().map(drop),
            Op::Dup => self.top().and_then(|top| self.push_id(top)),
            Op::None => self.leaf(Value::None),
            Op::Bool(bit) => self.leaf(Value::Bool(bit)),
            Op::Int(number) => self.leaf(Value::Int(number)),
            Op::Long(bytes) => self.leaf(Value::Long(bytes)),
            Op::Float(number) => self.leaf(Value::Float(number)),
            Op::Bytes(bytes) => self.leaf(Value::Bytes(Cow::Borrowed(bytes))),
            Op::ByteArray(bytes) => self.leaf(Value::ByteArray(Cow::Borrowed(bytes))),
            Op::Text(text) => self.leaf(Value::Text(text)),
            Op::Native(bytes) => self.leaf(Value::Native(bytes)),
            Op::Extension(code) => self.leaf(Value::Extension(code)),
            Op::Global { module, name } => self.leaf(global(module, name)),
            Op::StackGlobal => self.stack_global(),
            Op::EmptyTuple => self.tuple(self.stack.len()),
            Op::TupleOf(count) => {
                let start = self.height_below(usize::from(count))?;
                self.tuple(start)
            }
            Op::Tuple => self.pop_mark().and_then(|height| self.tuple(height)),
            Op::EmptyList => self.push(Node::List(Vec::new())),
            Op::List => self.pop_to_mark().and_then(|items| self.push(Node::List(items))),
            Op::EmptyDict => self.push(Node::Dict(Vec::new())),
            Op::Dict => self.pop_pairs().and_then(|items| self.push(Node::Dict(items))),
            Op::EmptySet => self.push(Node::Set(Vec::new())),
            Op::FrozenSet => {
                let start = self.pop_mark()?;
                let items = self.keep_items(start)?;
                self.push(Node::FrozenSet(items))
            }
            Op::Append => self.pop_many(1).and_then(|item| self.append(&item, code::APPEND)),
            Op::Appends => self.pop_to_mark().and_then(|items| self.append(&items, code::APPENDS)),
            Op::SetItem => self.pop_many(2).and_then(|pair| self.set_items(&pair, code::SETITEM)),
            Op::SetItems => self.pop_pairs().and_then(|items| self.set_items(&items, code::SETITEMS)),
            Op::AddItems => self.pop_to_mark().and_then(|items| self.add_items(&items)),
            Op::Reduce => self.object(Construction::Reduce),
            Op::NewObj => self.object(Construction::New),
            Op::NewObjEx => self.object_with_keywords(),
            Op::Inst { module, name } => self.inst(module, name),
            Op::Obj => self.obj(),
            Op::Build => self.build(),
            Op::PersId(id) => {
                self.leaf(Value::Text(Cow::Borrowed(id)))?;
                self.persistent()
            }
            Op::BinPersId => self.persistent(),
            Op::Get(index) => {
                let id = self.memo.get(index).ok_or(Kind::NoMemo(index))?;
                self.push_id(id)
            }
            Op::Put(index) => self.memoize(index),
            Op::Memoize => self.memoize(u32::try_from(self.memo.len()).map_err(|_| Kind::TooManyValues)?),
            Op::Buffer => Err(Kind::OutOfBandBuffer),
        }
    }

    fn push(&mut self, node: Node<'a>) -> Result<(), Kind> {
        self.charge(1)?;
        let id = NodeId::try_from(self.nodes.len()).map_err(|_| Kind::TooManyValues)?;
        self.nodes.push(node);
        self.push_id(id)
    }

    fn charge(&mut self, count: usize) -> Result<(), Kind> {
        self.budget = self.budget.checked_sub(count).ok_or(Kind::TooManyValues)?;
        Ok(())
    }

    fn push_id(&mut self, id: NodeId) -> Result<(), Kind> {
        // GET and DUP push without making a node.
        if self.stack.len() >= self.count_max {
            return Err(Kind::TooManyValues);
        }
        self.stack.push(id);
        Ok(())
    }

    fn leaf(&mut self, value: Value<'a>) -> Result<(), Kind> {
        self.push(Node::Leaf(value))
    }

    fn mark(&mut self) -> Result<(), Kind> {
        if self.marks.len() >= self.count_max {
            return Err(Kind::TooManyValues);
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Height below which the current frame of marks may not reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<NodeId, Kind> {
        let top = self.stack.last().copied().ok_or(Kind::StackUnderflow)?;
        if self.stack.len() > self.floor() { Ok(top) } else { Err(Kind::StackUnderflow) }
    }

    fn pop(&mut self) -> Result<NodeId, Kind> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_value_or_mark(&mut self) -> Result<(), Kind> {
        if self.stack.len() == self.floor() {
            self.marks.pop().map(drop).ok_or(Kind::StackUnderflow)
        } else {
            self.pop().map(drop)
        }
    }

    /// The height of the stack without its last `count` entries.
    fn height_below(&self, count: usize) -> Result<usize, Kind> {
        let height = self.stack.len().checked_sub(count).ok_or(Kind::StackUnderflow)?;
        if height < self.floor() { Err(Kind::StackUnderflow) } else { Ok(height) }
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<NodeId>, Kind> {
        let height = self.height_below(count)?;
        Ok(self.stack.split_off(height))
    }

    fn pop_mark(&mut self) -> Result<usize, Kind> {
        self.marks.pop().ok_or(Kind::NoMark)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<NodeId>, Kind> {
        let height = self.pop_mark()?;
        Ok(self.stack.split_off(height))
    }

    /// Takes what stands on the stack from `height` on for a value that is complete with it.
    fn keep_items(&mut self, height: usize) -> Result<Items, Kind> {
        let start = self.items.len();
        self.items.extend_from_slice(self.stack.get(height..).ok_or(Kind::StackUnderflow)?);
        self.stack.truncate(height);
        Ok(Items { start, end: self.items.len() })
    }

    fn tuple(&mut self, height: usize) -> Result<(), Kind> {
        let items = self.keep_items(height)?;
        self.push(Node::Tuple(items))
    }

    fn pop_pairs(&mut self) -> Result<Vec<NodeId>, Kind> {
        let items = self.pop_to_mark()?;
        if items.len().is_multiple_of(2) { Ok(items) } else { Err(Kind::BadOperand(code::SETITEMS)) }
    }

    fn top_node(&mut self) -> Result<&mut Node<'a>, Kind> {
        let top = usize::try_from(self.top()?).map_err(|_| Kind::StackUnderflow)?;
        self.nodes.get_mut(top).ok_or(Kind::StackUnderflow)
    }

    fn append(&mut self, items: &[NodeId], opcode: u8) -> Result<(), Kind> {
        match self.top_node()? {
            Node::List(list) => list.extend_from_slice(items),
            Node::Object(object) => object.list_items.extend_from_slice(items),
            Node::Leaf(_)
            | Node::Tuple(_)
            | Node::Dict(_)
            | Node::Set(_)
            | Node::FrozenSet(_)
            | Node::Persistent(_) => return Err(Kind::BadOperand(opcode)),
        }
        Ok(())
    }

    fn set_items(&mut self, pairs: &[NodeId], opcode: u8) -> Result<(), Kind> {
        match self.top_node()? {
            Node::Dict(dict) => dict.extend_from_slice(pairs),
            Node::Object(object) => object.dict_items.extend_from_slice(pairs),
            Node::Leaf(_)
            | Node::Tuple(_)
            | Node::List(_)
            | Node::Set(_)
            | Node::FrozenSet(_)
            | Node::Persistent(_) => return Err(Kind::BadOperand(opcode)),
        }
        Ok(())
    }

    fn add_items(&mut self, items: &[NodeId]) -> Result<(), Kind> {
        match self.top_node()? {
            Node::Set(set) => set.extend_from_slice(items),
            Node::Object(object) => object.list_items.extend_from_slice(items),
            Node::Leaf(_)
            | Node::Tuple(_)
            | Node::List(_)
            | Node::Dict(_)
            | Node::FrozenSet(_)
            | Node::Persistent(_) => return Err(Kind::BadOperand(code::ADDITEMS)),
        }
        Ok(())
    }

    fn memoize(&mut self, index: u32) -> Result<(), Kind> {
        let top = self.top()?;
        if self.memo.len() >= self.count_max {
            return Err(Kind::TooManyValues);
        }
        self.memo.put(index, top);
        Ok(())
    }

    fn persistent(&mut self) -> Result<(), Kind> {
        let reference = self.pop()?;
        self.push(Node::Persistent(reference))
    }

    fn object(&mut self, construction: Construction) -> Result<(), Kind> {
        let args = self.pop()?;
        let callable = self.pop()?;
        self.push_object(construction, callable, args, None)
    }

    fn object_with_keywords(&mut self) -> Result<(), Kind> {
        let kwargs = self.pop()?;
        let args = self.pop()?;
        let callable = self.pop()?;
        self.push_object(Construction::New, callable, args, Some(kwargs))
    }

    fn inst(&mut self, module: &'a str, name: &'a str) -> Result<(), Kind> {
        let height = self.pop_mark()?;
        self.tuple(height)?;
        let args = self.pop()?;
        self.leaf(global(module, name))?;
        let callable = self.pop()?;
        self.push_object(Construction::Instance, callable, args, None)
    }

    fn obj(&mut self) -> Result<(), Kind> {
        let height = self.pop_mark()?;
        let callable = *self.stack.get(height).ok_or(Kind::StackUnderflow)?;
        self.tuple(height + 1)?;
        let args = self.pop()?;
        self.stack.truncate(height);
        self.push_object(Construction::Instance, callable, args, None)
    }

    fn push_object(
        &mut self,
        construction: Construction,
        callable: NodeId,
        args: NodeId,
        kwargs: Option<NodeId>,
    ) -> Result<(), Kind> {
        self.charge(OBJECT_COST - 1)?;
        self.push(Node::Object(Box::new(ObjectNode {
            construction,
            callable,
            args,
            kwargs,
            state: None,
            list_items: Vec::new(),
            dict_items: Vec::new(),
        })))
    }

    fn build(&mut self) -> Result<(), Kind> {
        let state = self.pop()?;
        let Node::Object(object) = self.top_node()? else { return Err(Kind::BadOperand(code::BUILD)) };
        match object.state.replace(state) {
            None => Ok(()),
            Some(_) => Err(Kind::BadOperand(code::BUILD)),
        }
    }

    fn stack_global(&mut self) -> Result<(), Kind> {
        let name = self.pop_name()?;
        let module = self.pop_name()?;
        self.leaf(global(module, name))
    }

    fn pop_name(&mut self) -> Result<&'a str, Kind> {
        let id = usize::try_from(self.pop()?).map_err(|_| Kind::StackUnderflow)?;
        // Picklers write names plainly. With escapes in it, text is no slice of the message: a copy of it for
        // each of many classes would be a way to fill our memory.
        match self.nodes.get(id) {
            Some(Node::Leaf(Value::Text(Cow::Borrowed(text)))) => Ok(text),
            _ => Err(Kind::BadOperand(code::STACK_GLOBAL)),
        }
    }
}

const fn global<'a>(module: &'a str, name: &'a str) -> Value<'a> {
    Value::Global(Global { module: Cow::Borrowed(module), name: Cow::Borrowed(name) })
}

#[cfg(test)]
mod tests;
