//! From the arena of nodes to a value that owns what is in it.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Items, Node, NodeId};
use crate::error::DecodeErrorKind as Kind;
use crate::pickle::op::code;
use crate::value::{Object, Value};

/// Turns the arena into a tree.
pub(super) struct Tree<'n, 'a> {
    nodes: &'n [Node<'a>],
    /// What is in the tuples.
    items: &'n [NodeId],
    /// How many more values may be built, beside those for which there is a place already.
    budget: usize,
    /// How much deeper values may nest.
    depth: usize,
}

impl<'n, 'a> Tree<'n, 'a> {
    pub(super) fn new(nodes: &'n [Node<'a>], items: &'n [NodeId], budget: usize, depth: usize) -> Self {
        Self { nodes, items, budget, depth }
    }

    pub(super) fn root(mut self, id: NodeId) -> Result<Value<'a>, Kind> {
        self.one(id)
    }

    fn one(&mut self, id: NodeId) -> Result<Value<'a>, Kind> {
        self.charge(1)?;
        self.build(id)
    }

    /// A value that has been charged.
    fn build(&mut self, id: NodeId) -> Result<Value<'a>, Kind> {
        let node = usize::try_from(id).ok().and_then(|id| self.nodes.get(id)).ok_or(Kind::StackUnderflow)?;
        if let Node::Leaf(value) = node {
            self.charge(owned_len(value) / 16)?;
            return Ok(value.clone());
        }
        // A value that contains itself ends here as well.
        self.depth = self.depth.checked_sub(1).ok_or(Kind::TooDeep)?;
        let value = self.build_composite(node)?;
        self.depth += 1;
        Ok(value)
    }

    fn build_composite(&mut self, node: &Node<'a>) -> Result<Value<'a>, Kind> {
        Ok(match node {
            Node::Leaf(value) => value.clone(),
            Node::Tuple(items) => Value::Tuple(self.build_all(self.within(*items)?)?),
            Node::List(items) => Value::List(self.build_all(items)?),
            Node::Set(items) => Value::Set(self.build_all(items)?),
            Node::FrozenSet(items) => Value::FrozenSet(self.build_all(self.within(*items)?)?),
            Node::Dict(items) => Value::Dict(self.build_pairs(items)?),
            Node::Persistent(reference) => Value::Persistent(Box::new(self.one(*reference)?)),
            Node::Object(object) => Value::Object(Box::new(Object {
                construction: object.construction,
                callable: self.one(object.callable)?,
                args: self.one(object.args)?,
                kwargs: object.kwargs.map(|kwargs| self.one(kwargs)).transpose()?,
                state: object.state.map(|state| self.one(state)).transpose()?,
                list_items: self.build_all(&object.list_items)?,
                dict_items: self.build_pairs(&object.dict_items)?,
            })),
        })
    }

    fn within(&self, items: Items) -> Result<&'n [NodeId], Kind> {
        self.items.get(items.start..items.end).ok_or(Kind::StackUnderflow)
    }

    /// All are charged before memory is taken for their places: lists that begin with themselves would else take it
    /// for as many at each depth.
    fn build_all(&mut self, items: &[NodeId]) -> Result<Vec<Value<'a>>, Kind> {
        self.charge(items.len())?;
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.push(self.build(*item)?);
        }
        Ok(values)
    }

    fn build_pairs(&mut self, items: &[NodeId]) -> Result<Vec<(Value<'a>, Value<'a>)>, Kind> {
        self.charge(items.len())?;
        let mut pairs = Vec::with_capacity(items.len() / 2);
        for pair in items.chunks_exact(2) {
            let [key, value] = pair else { return Err(Kind::BadOperand(code::SETITEMS)) };
            pairs.push((self.build(*key)?, self.build(*value)?));
        }
        Ok(pairs)
    }

    fn charge(&mut self, count: usize) -> Result<(), Kind> {
        self.budget = self.budget.checked_sub(count).ok_or(Kind::TooManyValues)?;
        Ok(())
    }
}

/// Bytes that cloning a leaf copies.
fn owned_len(value: &Value<'_>) -> usize {
    match value {
        Value::Bytes(Cow::Owned(bytes))
        | Value::Native(Cow::Owned(bytes))
        | Value::ByteArray(Cow::Owned(bytes))
        | Value::Long(Cow::Owned(bytes)) => bytes.len(),
        Value::Text(Cow::Owned(text)) => text.len(),
        Value::Bytes(Cow::Borrowed(_))
        | Value::Native(Cow::Borrowed(_))
        | Value::ByteArray(Cow::Borrowed(_))
        | Value::Long(Cow::Borrowed(_))
        | Value::Text(Cow::Borrowed(_)) => 0,
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Extension(_) => 0,
        // Names are slices of the message (see `pop_name`); the rest are no leaves.
        Value::Global(_)
        | Value::Tuple(_)
        | Value::List(_)
        | Value::Dict(_)
        | Value::Set(_)
        | Value::FrozenSet(_)
        | Value::Object(_)
        | Value::Persistent(_) => 0,
    }
}
