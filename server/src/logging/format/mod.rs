//! `format` and `style`: the templates of Python's `logging`, in the four languages that ZConfig knows.

mod brace;
mod dollar;
mod field;
mod percent;

use super::DateFormat;
use field::{Conversion, Field, Layout, emit_field};

pub(super) use field::Record;

/// A template for what is written for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pieces: Vec<Piece>,
}

/// The language of a template (`log_format_style` in `ZConfig/components/logger/formatter.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// `classic`: `%(field)s`.
    #[default]
    Classic,
    /// `format`: `{field}`, as for `str.format`.
    Format,
    /// `template`: `$field` and `${field}`, as for `string.Template.substitute`.
    Template,
    /// `safe-template`: the same, but what is no known field stands for itself.
    SafeTemplate,
}

impl Style {
    /// The style that a configuration calls `name`, in any case.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "classic" => Self::Classic,
            "format" => Self::Format,
            "template" => Self::Template,
            "safe-template" => Self::SafeTemplate,
            _ => return None,
        })
    }

    /// What an empty `format` means.
    fn bare(self) -> &'static str {
        match self {
            Self::Classic => "%(message)s",
            Self::Format => "{message}",
            Self::Template | Self::SafeTemplate => "${message}",
        }
    }
}

/// A template that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A sign that begins a field, but here neither does so nor is doubled.
    #[error("'{sign}' at offset {offset} begins nothing that is known; expected {expected}")]
    Lone {
        /// `%`, `{`, `}` or `$`.
        sign: char,
        /// Characters before it.
        offset: usize,
        /// What it could begin.
        expected: &'static str,
    },
    /// A field that there is not.
    #[error("unknown field {field:?}; known are {FIELDS}")]
    UnknownField {
        /// Its name.
        field: String,
    },
    /// A field with a conversion that does not suit it.
    #[error("the field {field:?} cannot be converted by {conversion:?}")]
    Conversion {
        /// Its name.
        field: &'static str,
        /// The letter that asks for the conversion.
        conversion: char,
    },
    /// Something between `:` and `}` that is not understood.
    #[error(
        "the field {field:?} has {spec:?} behind it; expected [[fill]align][0][width][.precision][s, d or f]"
    )]
    Spec {
        /// Its name.
        field: &'static str,
        /// What stands behind it.
        spec: String,
    },
    /// A width or precision above 255.
    #[error("width or precision of the field {field:?} is too great")]
    TooWide {
        /// Its name.
        field: &'static str,
    },
    /// A template in which there is nothing of the event.
    #[error("there is no field in it, such as {example}")]
    NoField {
        /// One, in the language of the template.
        example: &'static str,
    },
    /// A directive that `strftime` does not have.
    #[error("unknown directive {directive:?}")]
    Date {
        /// The `%` and the character after it.
        directive: String,
    },
}

/// The names of all fields, for messages.
const FIELDS: &str = "asctime, created, filename, funcName, levelname, levelno, lineno, message, module, msecs, \
                      name, pathname, process, processName, relativeCreated, thread, threadName";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field { field: Field, layout: Layout, conversion: Conversion },
}

/// What stands at a sign that may begin a field.
enum Found {
    Literal(char),
    Field(Piece),
}

/// Why nothing does.
enum Reason {
    /// The sign begins nothing; this is what it could begin.
    Lone(&'static str),
    Other(FormatError),
}

impl From<FormatError> for Reason {
    fn from(error: FormatError) -> Self {
        Self::Other(error)
    }
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
    /// What ZConfig gives a `<logfile>` without `format`. The same in every `style`, so that only `classic` finds
    /// fields in it.
    pub const LOGFILE: &str = r"------\n%(asctime)s %(levelname)s %(name)s %(message)s";
    /// What ZConfig gives a `<syslog>` without `format`.
    pub const SYSLOG: &str = "%(name)s %(message)s";

    /// [`Format::SYSLOG`].
    pub fn syslog() -> Self {
        let field = |field| Piece::Field { field, layout: Layout::default(), conversion: Conversion::Text };
        Self { pieces: vec![field(Field::Name), Piece::Text(" ".into()), field(Field::Message)] }
    }

    /// Reads the value of `format`: text, fields in the language `style`, and the escapes `\n`, `\t`, `\b`, `\f`,
    /// `\r`. Other backslashes stand for themselves. An empty one is the message alone.
    ///
    /// # Errors
    /// Every [`FormatError`] but [`FormatError::Date`].
    pub fn parse(text: &str, style: Style) -> Result<Self, FormatError> {
        let text = if text.is_empty() { style.bare() } else { text };
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let after = rest.get(c.len_utf8()..).unwrap_or_default();
            let (found, after) = match (c, style) {
                ('\\', _) => unescape(after),
                ('%', Style::Classic) => percent::field(after).map_err(|reason| at(reason, c, text, rest))?,
                ('{' | '}', Style::Format) => {
                    brace::field(c, after).map_err(|reason| at(reason, c, text, rest))?
                }
                ('$', Style::Template) => dollar::field(after).map_err(|reason| at(reason, c, text, rest))?,
                ('$', Style::SafeTemplate) => dollar::field(after).unwrap_or((Found::Literal(c), after)),
                _ => (Found::Literal(c), after),
            };
            rest = after;
            match found {
                Found::Literal(c) => literal.push(c),
                Found::Field(piece) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                }
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        let has_field = pieces.iter().any(|piece| matches!(piece, Piece::Field { .. }));
        if !has_field && style != Style::SafeTemplate {
            return Err(FormatError::NoField { example: style.bare() });
        }
        Ok(Self { pieces })
    }

    /// Appends `record` to `line`.
    pub(super) fn emit(&self, record: &Record<'_>, dates: &DateFormat, line: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Field { field, layout, conversion } => {
                    emit_field(*field, *conversion, *layout, record, dates, line);
                }
            }
        }
    }
}

/// What the characters after a backslash stand for, and what follows them.
fn unescape(after: &str) -> (Found, &str) {
    let escapes = [('n', '\n'), ('t', '\t'), ('b', '\x08'), ('f', '\x0c'), ('r', '\r')];
    let found = escapes.iter().find_map(|(letter, meant)| Some((*meant, after.strip_prefix(*letter)?)));
    let (literal, after) = found.unwrap_or(('\\', after));
    (Found::Literal(literal), after)
}

/// The error for `sign`, with which `rest`, the end of `text`, begins.
fn at(reason: Reason, sign: char, text: &str, rest: &str) -> FormatError {
    match reason {
        Reason::Other(error) => error,
        Reason::Lone(expected) => {
            let offset = text.chars().count().saturating_sub(rest.chars().count());
            FormatError::Lone { sign, offset, expected }
        }
    }
}

/// Splits off the digits at the start.
fn number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// The field `name`, and its name as a constant.
fn by_name(name: &str) -> Result<(Field, &'static str), FormatError> {
    Field::by_name(name).ok_or_else(|| FormatError::UnknownField { field: name.into() })
}

/// A width or precision of `field`, 0 without digits.
fn bounded(digits: &str, field: &'static str) -> Result<u8, FormatError> {
    if digits.is_empty() { Ok(0) } else { digits.parse().map_err(|_| FormatError::TooWide { field }) }
}
