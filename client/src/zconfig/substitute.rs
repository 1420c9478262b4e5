//! `$name`, `${name}`, `$(VARIABLE)` and `$$` in values.
//!
//! The rules are those of `ZConfig/substitution.py` 4.3. Names of definitions are case-insensitive, names of
//! variables are not; what is put in is not looked at again; there is no syntax for a default.

use std::collections::HashMap;

use super::{Environment, ErrorKind};

/// The definitions in force: names in lower case, with their final values.
pub(super) type Defines = HashMap<String, String>;

/// Replaces every reference in `text`.
pub(super) fn substitute(
    text: &str,
    defines: &Defines,
    environment: &dyn Environment,
    len_max: usize,
) -> Result<String, ErrorKind> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        let (reference, remainder) = reference(after)?;
        match reference {
            Reference::Dollar => result.push('$'),
            Reference::Define(name) => match defines.get(&name.to_lowercase()) {
                Some(value) => result.push_str(value),
                None => return Err(ErrorKind::NotDefined { name: name.into() }),
            },
            Reference::Variable(name) => match environment.variable(name) {
                Some(value) => result.push_str(&value),
                None => return Err(ErrorKind::VariableNotSet { name: name.into() }),
            },
        }
        // Checked at each step: definitions that double each other would outgrow memory within forty lines.
        if result.len() > len_max {
            return Err(ErrorKind::ValueTooLong { len_max });
        }
        rest = remainder;
    }
    result.push_str(rest);
    if result.len() > len_max {
        return Err(ErrorKind::ValueTooLong { len_max });
    }
    Ok(result)
}

/// Whether `%define` can define `name`: letters, digits and underscores of ASCII, no digit first.
pub(super) fn is_name(name: &str) -> bool {
    let (found, rest) = split_name(name);
    !found.is_empty() && rest.is_empty()
}

enum Reference<'a> {
    Dollar,
    Define(&'a str),
    Variable(&'a str),
}

/// Reads what stands behind a `$`, and returns what follows it.
fn reference(after: &str) -> Result<(Reference<'_>, &str), ErrorKind> {
    if let Some(rest) = after.strip_prefix('$') {
        return Ok((Reference::Dollar, rest));
    }
    if let Some(rest) = after.strip_prefix('{') {
        let (name, rest) = bracketed(rest, '{', '}')?;
        return Ok((Reference::Define(name), rest));
    }
    if let Some(rest) = after.strip_prefix('(') {
        let (name, rest) = bracketed(rest, '(', ')')?;
        return Ok((Reference::Variable(name), rest));
    }
    match split_name(after) {
        ("", _) => Err(ErrorKind::LoneDollar),
        (name, rest) => Ok((Reference::Define(name), rest)),
    }
}

fn bracketed(text: &str, open: char, close: char) -> Result<(&str, &str), ErrorKind> {
    let (name, rest) = split_name(text);
    if name.is_empty() {
        return Err(ErrorKind::NoNameInBrackets { open });
    }
    match rest.strip_prefix(close) {
        Some(rest) => Ok((name, rest)),
        None => Err(ErrorKind::BracketNotClosed { open, name: name.into(), close }),
    }
}

/// Splits off the longest name at the start of `text`, which is empty if there is none.
fn split_name(text: &str) -> (&str, &str) {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !text.starts_with(is_first) {
        return ("", text);
    }
    let end = text.find(|c: char| !is_first(c) && !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}
