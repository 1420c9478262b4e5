//! `format`: the `%(field)s` templates of Python's `logging`.

use super::DateFormat;
use super::field::{Conversion, Field, Layout, Record, emit_field, pad};

/// A template for what is written for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pieces: Vec<Piece>,
}

/// A template that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A `%` that neither begins `%(field)s` nor is doubled.
    #[error("'%' at offset {offset} begins nothing that is known; expected %(field)s or %%")]
    LonePercent {
        /// Characters before the `%`.
        offset: usize,
    },
    /// A field that there is not.
    #[error("unknown field {field:?}; known are {FIELDS}")]
    UnknownField {
        /// The name between the parentheses.
        field: String,
    },
    /// A field with a conversion that does not suit it.
    #[error("the field {field:?} cannot be converted by {conversion:?}")]
    Conversion {
        /// The name between the parentheses.
        field: &'static str,
        /// The letter after them.
        conversion: char,
    },
    /// A width or precision above 255.
    #[error("width or precision of the field {field:?} is too great")]
    TooWide {
        /// The name between the parentheses.
        field: &'static str,
    },
    /// A template without any field, which Python refuses, too.
    #[error("there is no field in it; expected at least %(message)s")]
    NoField,
    /// A directive that `strftime` does not have.
    #[error("unknown directive {directive:?}")]
    Date {
        /// The `%` and the letter after it.
        directive: String,
    },
}

const FIELDS: &str = "asctime, created, filename, levelname, levelno, lineno, message, module, msecs, name, \
                      pathname, process, processName, threadName";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field { field: Field, layout: Layout, conversion: Conversion },
}

impl Default for Format {
    /// `------\n%(asctime)s %(levelname)s %(name)s %(message)s`
    fn default() -> Self {
        let field = |field| Piece::Field { field, layout: Layout::default(), conversion: Conversion::Text };
        let text = |text: &str| Piece::Text(text.into());
        Self {
            pieces: vec![
                text("------\n"),
                field(Field::Asctime),
                text(" "),
                field(Field::Levelname),
                text(" "),
                field(Field::Name),
                text(" "),
                field(Field::Message),
            ],
        }
    }
}

impl Format {
    /// Reads the value of `format`: text, `%%`, `%(field)s` (or `d` or `f` for numbers) with the flags `-` and
    /// `0`, a width, and, not for `d`, a precision; and the escapes
    /// `\n`, `\t`, `\b`, `\f`, `\r`. Other backslashes stand for themselves. An empty one is `%(message)s`.
    ///
    /// # Errors
    /// Every [`FormatError`] but [`FormatError::Date`].
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let text = if text.is_empty() { "%(message)s" } else { text };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let after = rest.get(c.len_utf8()..).unwrap_or_default();
            if c == '\\' {
                let (escaped, after) = unescape(after);
                literal.push(escaped);
                rest = after;
            } else if c != '%' {
                literal.push(c);
                rest = after;
            } else if let Some(after) = after.strip_prefix('%') {
                literal.push('%');
                rest = after;
            } else {
                let offset = text.chars().count().saturating_sub(rest.chars().count());
                let (piece, after) = field(after, offset)?;
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(piece);
                rest = after;
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        if !pieces.iter().any(|piece| matches!(piece, Piece::Field { .. })) {
            return Err(FormatError::NoField);
        }
        Ok(Self { pieces })
    }

    /// Appends `record` and a line end to `line`.
    pub(super) fn emit(&self, record: &Record<'_>, dates: &DateFormat, line: &mut String) {
        let mut value = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Field { field, layout, conversion } => {
                    value.clear();
                    emit_field(*field, *conversion, *layout, record, dates, &mut value);
                    pad(&value, *conversion, *layout, line);
                }
            }
        }
        line.push('\n');
    }
}

/// What the characters after a backslash stand for, and what follows them.
fn unescape(after: &str) -> (char, &str) {
    let escapes = [('n', '\n'), ('t', '\t'), ('b', '\x08'), ('f', '\x0c'), ('r', '\r')];
    let found = escapes.iter().find_map(|(letter, meant)| Some((*meant, after.strip_prefix(*letter)?)));
    found.unwrap_or(('\\', after))
}

/// Reads `(name)`, flags, width, precision and conversion.
fn field(after: &str, offset: usize) -> Result<(Piece, &str), FormatError> {
    let lone = FormatError::LonePercent { offset };
    let Some((name, rest)) = after.strip_prefix('(').and_then(|rest| rest.split_once(')')) else {
        return Err(lone);
    };
    let (field, name) =
        Field::by_name(name).ok_or_else(|| FormatError::UnknownField { field: name.into() })?;
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
    let too_wide = |_| FormatError::TooWide { field: name };
    let bounded = |digits: &str| if digits.is_empty() { Ok(0) } else { digits.parse().map_err(too_wide) };
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
    let conversion = conversion.filter(|conversion| field.admits(*conversion) && !is_odd(*conversion));
    let conversion = conversion.ok_or(FormatError::Conversion { field: name, conversion: letter })?;
    let layout = Layout {
        is_left: flags.contains('-'),
        is_zero_padded: flags.contains('0'),
        width: bounded(width)?,
        precision: precision.map(bounded).transpose()?,
    };
    let rest = rest.get(letter.len_utf8()..).unwrap_or_default();
    Ok((Piece::Field { field, layout, conversion }, rest))
}

/// Splits off the digits at the start.
fn number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}
