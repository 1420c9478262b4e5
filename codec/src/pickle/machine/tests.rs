//! Pickles here were written by CPython 3.11's `pickle` unless they are hostile.

use super::*;
use alloc::vec;

fn value(pickle: &[u8]) -> Value<'_> {
    decode(pickle, &Limits::DEFAULT).unwrap()
}

fn error(pickle: &[u8]) -> Kind {
    decode(pickle, &Limits::DEFAULT).unwrap_err().kind
}

#[test]
fn shares_lists_that_are_filled_after_they_were_memoized() {
    // x = [1]; pickle.dumps([x, x], 2), with the append moved behind the second use
    let shared = b"\x80\x02]q\x00(]q\x01h\x01K\x01ae.";
    let one = Value::List(vec![Value::Int(1)]);
    assert_eq!(value(shared), Value::List(vec![one.clone(), one]));
}

#[test]
fn keeps_classes_and_calls_as_symbols() {
    // pickle.dumps(collections.OrderedDict(a=1), 2)
    let pickle = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00aq\x02K\x01s.";
    let Value::Object(object) = value(pickle) else { panic!("not an object") };
    assert_eq!(object.construction, Construction::Reduce);
    assert_eq!(object.callable, global("collections", "OrderedDict"));
    assert_eq!(object.args, Value::Tuple(vec![]));
    assert_eq!(object.dict_items, [("a".into(), Value::Int(1))]);
}

#[test]
fn refuses_values_that_contain_themselves() {
    // l = []; l.append(l); pickle.dumps(l, 2)
    // Which bound is met first depends on the length of the pickle.
    assert!(matches!(error(b"\x80\x02]q\x00h\x00a."), Kind::TooDeep | Kind::TooManyValues));
}

#[test]
fn refuses_exponential_sharing_quickly() {
    // t = (); for _ in range(60): t = (t, t)
    let mut pickle = b"\x80\x02)".to_vec();
    for _ in 0..60 {
        pickle.extend_from_slice(b"q\x00h\x00\x86");
    }
    pickle.push(b'.');
    assert_eq!(error(&pickle), Kind::TooManyValues);
}

/// Text with escapes is no slice of the message, and would be copied for each use.
#[test]
fn refuses_many_uses_of_a_long_text_with_escapes() {
    let mut pickle = b"V".to_vec();
    pickle.resize(100_000, 0xe9);
    pickle.extend_from_slice(b"\nq\x00(");
    let names = pickle.clone();
    pickle.extend_from_slice(&b"h\x00".repeat(100_000));
    pickle.extend_from_slice(b"t.");
    assert_eq!(error(&pickle), Kind::TooManyValues);
    // As the name of a class it is refused at once: no pickler writes names so.
    let pickle = [&names[..], b"h\x00h\x00\x93"].concat();
    assert_eq!(error(&pickle), Kind::BadOperand(code::STACK_GLOBAL));
    // pickle.dumps(collections.deque, 4), without its frame
    let plain = b"\x80\x04\x8c\x0bcollections\x94\x8c\x05deque\x94\x93\x94.";
    assert_eq!(value(plain), global("collections", "deque"));
}

#[test]
fn refuses_deep_nesting_without_using_the_call_stack() {
    let mut pickle = b")".to_vec();
    pickle.resize(2_000_000, 0x85);
    pickle.push(b'.');
    assert_eq!(error(&pickle), Kind::TooManyValues);
    let mut pickle = b")".to_vec();
    pickle.resize(1_000, 0x85);
    pickle.push(b'.');
    assert_eq!(error(&pickle), Kind::TooDeep);
}

#[test]
fn keeps_operands_behind_their_mark() {
    assert_eq!(error(b"N(a."), Kind::StackUnderflow);
    assert_eq!(error(b"(."), Kind::StackUnderflow);
    assert_eq!(error(b"Nt."), Kind::NoMark);
    assert_eq!(error(b"h\x07."), Kind::NoMemo(7));
    assert_eq!(error(b"NNa."), Kind::BadOperand(b'a'));
    assert_eq!(error(b"}(NNNu."), Kind::BadOperand(b'u'));
}

#[test]
fn a_huge_memo_index_takes_no_memory() {
    assert_eq!(value(b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff."), Value::None);
}

/// Pushing what is there already, and setting it aside, make no values: they have the same bound of their own.
#[test]
fn the_stack_and_the_memo_are_bounded_like_the_values() {
    const COUNT_MAX: usize = 100;
    let limits = Limits { value_count: COUNT_MAX, ..Limits::DEFAULT };
    let refused = |pickle: &[u8]| decode(pickle, &limits).err().map(|error| error.kind);
    let drop = |count| b"0".repeat(count);
    for more in [&b"2"[..], b"h\x00"] {
        // One value is on the stack already.
        for (count, expected) in [(COUNT_MAX - 1, None), (COUNT_MAX, Some(Kind::TooManyValues))] {
            let pickle = [b"Nq\x00", &more.repeat(count)[..], &drop(count), b"."].concat();
            assert_eq!(refused(&pickle), expected, "{count} times {more:?}");
        }
    }
    for (count, expected) in [(COUNT_MAX, None), (COUNT_MAX + 1, Some(Kind::TooManyValues))] {
        // In order, and not.
        for step in [1, 7] {
            let puts =
                (0_u32..).take(count).flat_map(|index| [&b"r"[..], &(index * step).to_le_bytes()].concat());
            let pickle: Vec<u8> = b"N".iter().copied().chain(puts).chain(*b".").collect();
            assert_eq!(refused(&pickle), expected, "{count} entries");
        }
        let pickle = [&b"N"[..], &b"\x94".repeat(count), b"."].concat();
        assert_eq!(refused(&pickle), expected, "MEMOIZE {count} times");
    }
}

#[test]
fn ignores_what_follows_stop() {
    assert_eq!(decode_prefix(b"N.rest", &Limits::DEFAULT).unwrap(), (Value::None, 2));
}
