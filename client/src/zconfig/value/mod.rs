//! Conversions of values, as `ZConfig/datatypes.py` 4.3 does them.
//!
//! Each function takes the text of a value and returns what it means, or a [`ValueError`] that says what
//! was expected. They know no file and line; the caller does.

mod address;
mod number;

use super::{Environment, is_blank};

pub use address::{SocketAddress, socket_binding_address, socket_connection_address};
pub use number::{byte_size, float, integer, time_interval};

/// A value that its type does not admit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Not one of the six words.
    #[error("{value:?} is not a boolean; expected yes, no, true, false, on or off")]
    Boolean {
        /// The text.
        value: String,
    },
    /// Not a whole number, or one that does not fit into 64 bits.
    #[error("{value:?} is not an integer")]
    Integer {
        /// The text.
        value: String,
    },
    /// Not a number.
    #[error("{value:?} is not a number")]
    Float {
        /// The text.
        value: String,
    },
    /// Not a whole number with perhaps a unit, or one that does not fit into 64 bits.
    #[error("{value:?} is not a size; expected an integer, alone or with KB, MB or GB")]
    ByteSize {
        /// The text.
        value: String,
    },
    /// Not a whole number with perhaps a unit, or one that does not fit into 64 bits.
    #[error("{value:?} is not a time interval; expected an integer, alone or with s, m, h or d")]
    TimeInterval {
        /// The text.
        value: String,
    },
    /// The part after the colon of an address is not a port.
    #[error("{value:?} is not a port; expected an integer from 0 to 65535")]
    Port {
        /// The part after the colon.
        value: String,
    },
    /// Neither a port nor a host name.
    #[error("{value:?} is not a valid host name")]
    Host {
        /// The text.
        value: String,
    },
    /// A file cannot be there, for want of a directory.
    #[error("the directory of the path {value:?} does not exist")]
    NoDirectory {
        /// The text.
        value: String,
    },
    /// Not a key: it must begin with a letter, and go on with letters, digits, `-`, `.` and `_`.
    #[error("{value:?} is not a valid key")]
    Key {
        /// The text.
        value: String,
    },
}

/// ZConfig's `boolean`: `yes`, `true`, `on`, `no`, `false`, `off` in any case.
///
/// # Errors
/// [`ValueError::Boolean`]
pub fn boolean(value: &str) -> Result<bool, ValueError> {
    match value.to_lowercase().as_str() {
        "yes" | "true" | "on" => Ok(true),
        "no" | "false" | "off" => Ok(false),
        _ => Err(ValueError::Boolean { value: value.into() }),
    }
}

/// ZConfig's `basic-key`, to which the keys of most sections are converted: lower case, ASCII.
///
/// # Errors
/// [`ValueError::Key`]
pub fn basic_key(key: &str) -> Result<String, ValueError> {
    let is_key = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    if is_key { Ok(key.to_ascii_lowercase()) } else { Err(ValueError::Key { value: key.into() }) }
}

/// ZConfig's `existing-dirpath`: a path of which the directory part, if any, exists. A `~` at the start is
/// replaced by `$HOME`. (Python knows the homes of other users, too; here `~name` is a plain file name.)
///
/// # Errors
/// [`ValueError::NoDirectory`]
pub fn existing_dirpath(value: &str, environment: &dyn Environment) -> Result<String, ValueError> {
    let path = expand_home(value, environment);
    match path.rsplit_once('/') {
        None => Ok(path),
        Some((directory, _)) => {
            let directory = if directory.is_empty() { "/" } else { directory };
            if environment.is_directory(directory.as_ref()) {
                Ok(path)
            } else {
                Err(ValueError::NoDirectory { value: value.into() })
            }
        }
    }
}

/// Python's `os.path.expanduser`, for the own home only.
fn expand_home(value: &str, environment: &dyn Environment) -> String {
    let rest = value.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match rest.and_then(|rest| Some((rest, environment.variable("HOME")?))) {
        None => value.into(),
        Some((rest, home)) => match format!("{}{rest}", home.trim_end_matches('/')) {
            root if root.is_empty() => "/".into(),
            path => path,
        },
    }
}

/// Cuts off what Python's `int` and `float` ignore around a number.
fn trim(value: &str) -> &str {
    value.trim_matches(is_blank)
}
