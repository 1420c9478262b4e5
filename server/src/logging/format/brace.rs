//! `{field}`: the style `format`, which is `str.format` with names only.

use super::field::{Align, Conversion, Kind, Layout};
use super::{FormatError, Found, Piece, Reason, bounded, by_name, number};

/// Reads what follows a `{` or `}`: another one, or `name}`, `name!s}`, `name:spec}`.
pub(super) fn field(sign: char, after: &str) -> Result<(Found, &str), Reason> {
    if let Some(after) = after.strip_prefix(sign) {
        return Ok((Found::Literal(sign), after));
    }
    if sign == '}' {
        return Err(Reason::Lone("}}"));
    }
    let (inner, rest) = after.split_once('}').ok_or(Reason::Lone("{field} or {{"))?;
    let (name, spec) = inner.split_once(':').unwrap_or((inner, ""));
    let (name, is_text) = match name.strip_suffix("!s") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let (field, name) = by_name(name)?;
    let kind = if is_text { Kind::Text } else { field.kind() };
    let wrong = || FormatError::Spec { field: name, spec: spec.into() };
    let (layout, conversion) = specification(spec, kind, name)?.ok_or_else(wrong)?;
    Ok((Found::Field(Piece::Field { field, layout, conversion }), rest))
}

/// Reads `[[fill]align][0][width][.precision][type]` for a value of this kind; `None` if it is something else, or does
/// not suit. (Signs, `#`, grouping and the other types of Python's mini-language are left out.)
fn specification(
    spec: &str,
    kind: Kind,
    name: &'static str,
) -> Result<Option<(Layout, Conversion)>, FormatError> {
    let (fill, align, rest) = alignment(spec);
    let (is_zero_padded, rest) = match rest.strip_prefix('0') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let (width, rest) = number(rest);
    let (precision, rest) = match rest.strip_prefix('.').map(number) {
        Some(("", _)) => return Ok(None),
        Some((digits, rest)) => (Some(bounded(digits, name)?), rest),
        None => (None, rest),
    };
    let conversion = match (rest, kind, precision) {
        ("" | "s", Kind::Text, _) | ("", Kind::Integer | Kind::Float, None) => Conversion::Text,
        ("d", Kind::Integer, None) => Conversion::Integer,
        ("f" | "F", Kind::Integer | Kind::Float, _) => Conversion::Float,
        _ => return Ok(None),
    };
    let align = match (align, kind) {
        // Between the sign and the digits; nothing here is negative.
        (Some('='), Kind::Text) => return Ok(None),
        (Some('<'), _) | (None, Kind::Text) => Align::Left,
        (Some('^'), _) => Align::Center,
        _ => Align::Right,
    };
    let fill = fill.unwrap_or(if is_zero_padded { '0' } else { ' ' });
    Ok(Some((Layout { fill, align, width: bounded(width, name)?, precision }, conversion)))
}

/// Splits off `align`, or `fill` and `align`.
fn alignment(spec: &str) -> (Option<char>, Option<char>, &str) {
    let mut characters = spec.chars();
    let (first, second) = (characters.next(), characters.next());
    let is_sign = |c: &char| "<>=^".contains(*c);
    if let Some(align) = second.filter(is_sign) {
        return (first, Some(align), characters.as_str());
    }
    match first.filter(is_sign) {
        Some(align) => (None, Some(align), spec.get(1..).unwrap_or_default()),
        None => (None, None, spec),
    }
}
