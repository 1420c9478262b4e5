//! `$field` and `${field}`: the styles `template` and `safe-template`, which are `string.Template`.

use super::field::{Conversion, Layout};
use super::{Found, Piece, Reason, by_name};

/// Reads what follows a `$`: another one, a name, or a name between braces.
pub(super) fn field(after: &str) -> Result<(Found, &str), Reason> {
    if let Some(after) = after.strip_prefix('$') {
        return Ok((Found::Literal('$'), after));
    }
    let lone = || Reason::Lone("$field, ${field} or $$");
    let (name, rest) = match after.strip_prefix('{') {
        Some(inner) => {
            let (name, rest) = identifier(inner);
            (name, rest.strip_prefix('}').ok_or_else(lone)?)
        }
        None => identifier(after),
    };
    if name.is_empty() {
        return Err(lone());
    }
    let (field, _) = by_name(name)?;
    let piece = Piece::Field { field, layout: Layout::default(), conversion: Conversion::Text };
    Ok((Found::Field(piece), rest))
}

/// Splits off a name, as long as it goes on: `idpattern` of `string.Template`.
fn identifier(text: &str) -> (&str, &str) {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => 0,
        false => text.find(|c| !is_inner(c)).unwrap_or(text.len()),
    };
    text.split_at_checked(end).unwrap_or((text, ""))
}
