//! `%(field)s`: the style `classic`.

use super::field::{Align, Conversion, Kind, Layout};
use super::{FormatError, Found, Piece, Reason, bounded, by_name, number};

/// Reads what follows a `%`: another one, or `(name)`, flags, width, precision and conversion.
pub(super) fn field(after: &str) -> Result<(Found, &str), Reason> {
    if let Some(after) = after.strip_prefix('%') {
        return Ok((Found::Literal('%'), after));
    }
    let lone = Reason::Lone("%(field)s or %%");
    let Some((name, rest)) = after.strip_prefix('(').and_then(|rest| rest.split_once(')')) else {
        return Err(lone);
    };
    let (field, name) = by_name(name)?;
    let flags_end = rest.find(|c| !"-0".contains(c)).unwrap_or(rest.len());
    let (flags, rest) = rest.split_at_checked(flags_end).unwrap_or((rest, ""));
    let (width, rest) = number(rest);
    let (precision, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let (digits, rest) = number(rest);
            (Some(digits), rest)
        }
        None => (None, rest),
    };
    let letter = rest.chars().next().ok_or(lone)?;
    let conversion = match letter {
        's' => Some(Conversion::Text),
        'd' | 'i' | 'u' => Some(Conversion::Integer),
        'f' | 'F' => Some(Conversion::Float),
        _ => None,
    };
    // For an integer, a precision would be a number of digits; one without digits Python takes or refuses.
    // Nobody writes either.
    let is_odd =
        |conversion| precision == Some("") || (conversion == Conversion::Integer && precision.is_some());
    let admits = |conversion| conversion == Conversion::Text || field.kind() != Kind::Text;
    let conversion = conversion.filter(|conversion| admits(*conversion) && !is_odd(*conversion));
    let conversion = conversion.ok_or(FormatError::Conversion { field: name, conversion: letter })?;
    let is_zero_padded = flags.contains('0') && conversion != Conversion::Text;
    let (align, fill) = match flags.contains('-') {
        true => (Align::Left, ' '),
        false => (Align::Right, if is_zero_padded { '0' } else { ' ' }),
    };
    let width = bounded(width, name)?;
    let precision = precision.map(|digits| bounded(digits, name)).transpose()?;
    let layout = Layout { fill, align, width, precision };
    let rest = rest.get(letter.len_utf8()..).unwrap_or_default();
    Ok((Found::Field(Piece::Field { field, layout, conversion }), rest))
}
