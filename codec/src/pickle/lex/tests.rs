use alloc::borrow::Cow;
use alloc::vec;
use alloc::vec::Vec;

use super::*;

fn ops(pickle: &[u8]) -> Vec<Op<'_>> {
    let mut lexer = Lexer::new(pickle);
    let mut ops = vec![];
    while lexer.peek().is_some() {
        ops.push(lexer.next_op().unwrap());
    }
    ops
}

#[test]
fn reads_numbers_of_every_protocol() {
    // pickletools.dis of pickle.dumps(..., 0..=4), CPython 3.11
    assert_eq!(
        ops(b"I01\nI-7\nL140712079153552L\nF1.5\n.").as_slice(),
        [Op::Bool(true), Op::Int(-7), Op::Int(140_712_079_153_552), Op::Float(1.5), Op::Stop]
    );
    assert_eq!(
        ops(b"\x8a\x00\x8a\x01\xff\x8a\x02\xff\x00J\xec\xff\xff\xffK\xffM\xe8\x03").as_slice(),
        [Op::Int(0), Op::Int(-1), Op::Int(255), Op::Int(-20), Op::Int(255), Op::Int(1000)]
    );
    assert_eq!(ops(b"\x8a\x06\xd0\x7b\x0d\xd9\x7b\x7f").as_slice(), [Op::Int(140_169_899_244_496)]);
}

#[test]
fn reads_escapes() {
    assert_eq!(ops(b"S'a\\x00\\n\\\\\\'\\101'\n").as_slice(), [Op::Native(Cow::Borrowed(b"a\0\n\\'A"))]);
    assert_eq!(ops(b"V\\u4e2d\xfc\\\n").as_slice(), [Op::Text(Cow::Borrowed("\u{4e2d}\u{fc}\\"))]);
    // pickle.loads(b"V\\\\u0041\n."), CPython 3.11
    assert_eq!(ops(b"V\\\\u0041\n").as_slice(), [Op::Text(Cow::Borrowed("\\\\u0041"))]);
}

#[test]
fn names_the_place_of_an_error() {
    let mut lexer = Lexer::new(b"NN\xff");
    lexer.next_op().unwrap();
    lexer.next_op().unwrap();
    assert_eq!(lexer.next_op(), Err(DecodeError::new(2, DecodeErrorKind::UnknownOpcode(0xff))));
    assert_eq!(
        Lexer::new(b"T\xff\xff\xff\xff").next_op(),
        Err(DecodeError::new(1, DecodeErrorKind::NegativeLength))
    );
    assert_eq!(Lexer::new(b"C\x05abc").next_op().unwrap_err().kind, DecodeErrorKind::Truncated);
}
