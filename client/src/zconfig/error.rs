//! What can be wrong with the syntax of a configuration.

use std::io;

use super::Position;

/// A configuration that cannot be read, and where.
#[derive(Debug, thiserror::Error)]
#[error("{at}: {kind}")]
pub struct Error {
    /// The offending line; line 0 if the file as a whole is meant.
    pub at: Position,
    /// What is wrong there.
    pub kind: ErrorKind,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A line begins with `<` but does not end with `>`.
    #[error("section tag does not end with '>'")]
    TagNotClosed,
    /// Between `<` and `>` stands something else than a type and perhaps a name.
    #[error("malformed section header; expected <type>, <type name> or <type name/>")]
    MalformedTag,
    /// An end tag where no section of this file is open.
    #[error("</{found}> without a section to end")]
    UnexpectedEnd {
        /// The type in the end tag.
        found: String,
    },
    /// An end tag for another section than the innermost.
    #[error("</{found}> found where </{expected}> should end the section begun in line {opened_line}")]
    UnbalancedEnd {
        /// The type in the end tag.
        found: String,
        /// The type of the innermost section.
        expected: String,
        /// Where that section begins.
        opened_line: u32,
    },
    /// The file ends within a section.
    #[error("the section <{kind}> begun in line {opened_line} is never ended")]
    UnclosedSection {
        /// Its type.
        kind: String,
        /// Where it begins.
        opened_line: u32,
    },
    /// A line that begins with a parenthesis.
    #[error("malformed line; expected a key and a value")]
    MalformedLine,
    /// A `%` without a word at once after it.
    #[error("missing directive; expected %define, %include or %import")]
    MissingDirective,
    /// Something else than `%define`, `%include` and `%import`; these are case-sensitive.
    #[error("unknown directive %{name}; expected %define, %include or %import")]
    UnknownDirective {
        /// The word after the `%`.
        name: String,
    },
    /// A directive that stands alone.
    #[error("missing argument to %{directive}")]
    MissingArgument {
        /// The directive.
        directive: &'static str,
    },
    /// A name that `%define` cannot define.
    #[error("{name:?} is not a name that can be defined; use letters, digits and underscores")]
    BadDefineName {
        /// The name, in lower case.
        name: String,
    },
    /// A second `%define` of a name with another value.
    #[error("{name:?} is already defined as something else")]
    Redefined {
        /// The name, in lower case.
        name: String,
    },
    /// A `$` that introduces nothing; `$$` stands for itself.
    #[error("'$' is not followed by '$', a name, {{name}} or (VARIABLE)")]
    LoneDollar,
    /// `${` or `$(` without a name after it.
    #[error("'${open}' is not followed by a name")]
    NoNameInBrackets {
        /// The bracket.
        open: char,
    },
    /// `${name` or `$(name` that goes on with something else than the bracket's end.
    #[error("'${open}{name}' is not followed by '{close}'")]
    BracketNotClosed {
        /// The bracket that opened.
        open: char,
        /// The name.
        name: String,
        /// The bracket that should have followed.
        close: char,
    },
    /// `$name` or `${name}` without a `%define`.
    #[error("nothing is defined as {name:?}")]
    NotDefined {
        /// The name as written.
        name: String,
    },
    /// `$(VARIABLE)` of which the environment knows nothing.
    #[error("environment variable {name:?} is not set")]
    VariableNotSet {
        /// The variable.
        name: String,
    },
    /// An included file that cannot be read, or the configuration file itself.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A file that is not text.
    #[error("{path} is not UTF-8 text")]
    NotText {
        /// The file.
        path: String,
    },
    /// `%include` of something that is no file.
    #[error("cannot include {url:?}: only files can be included")]
    IncludeNotAFile {
        /// What should be included.
        url: String,
    },
    /// A file that is included while it is being read.
    #[error("{path} includes itself")]
    IncludeCycle {
        /// The file.
        path: String,
    },
    /// More included files than [`include_count_max`](super::Limits::include_count_max).
    #[error("more than {count_max} files are included")]
    TooManyIncludes {
        /// The bound.
        count_max: u32,
    },
    /// More nesting than [`section_depth_max`](super::Limits::section_depth_max) or
    /// [`include_depth_max`](super::Limits::include_depth_max).
    #[error("nested more than {depth_max} deep")]
    TooDeep {
        /// The bound.
        depth_max: usize,
    },
    /// A file with more bytes than [`file_len_max`](super::Limits::file_len_max).
    #[error("{path} is longer than {len_max} bytes")]
    FileTooLong {
        /// The file.
        path: String,
        /// The bound.
        len_max: usize,
    },
    /// More lines than [`line_count_max`](super::Limits::line_count_max).
    #[error("more than {count_max} lines")]
    TooManyLines {
        /// The bound.
        count_max: u32,
    },
    /// A value with more bytes than [`value_len_max`](super::Limits::value_len_max).
    #[error("value longer than {len_max} bytes")]
    ValueTooLong {
        /// The bound.
        len_max: usize,
    },
}
