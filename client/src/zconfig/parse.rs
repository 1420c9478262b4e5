//! From the lines of one file to items of the tree.

use std::sync::Arc;

use super::include::Reader;
use super::substitute::{is_name, substitute};
use super::{Entry, Error, ErrorKind, Import, Item, Position, Section, is_blank};

/// Reads the lines of one file into a section that is already open.
pub(super) struct Parser<'r, 'e> {
    reader: &'r mut Reader<'e>,
    file: Arc<str>,
    line: u32,
    /// The sections open now, outermost first. The first one was opened outside of this file.
    open: Vec<Section>,
    /// How many sections were open where this file is included.
    depth_outside: usize,
}

impl<'r, 'e> Parser<'r, 'e> {
    pub(super) fn new(
        reader: &'r mut Reader<'e>,
        file: Arc<str>,
        section: Section,
        depth_outside: usize,
    ) -> Self {
        Self { reader, file, line: 0, open: vec![section], depth_outside }
    }

    /// Reads all lines and returns the section, with their content added to it.
    pub(super) fn parse(mut self, text: &str) -> Result<Section, Error> {
        for line in text.lines() {
            self.line = self.line.saturating_add(1);
            self.reader.count_line().map_err(|kind| self.error(kind))?;
            self.line(line.trim_matches(is_blank))?;
        }
        match (self.open.pop(), self.open.is_empty()) {
            (Some(section), true) => Ok(section),
            (Some(Section { kind, at, .. }), false) => {
                Err(self.error(ErrorKind::UnclosedSection { kind, opened_line: at.line }))
            }
            (None, _) => Err(self.error(ErrorKind::UnexpectedEnd { found: String::new() })),
        }
    }

    fn line(&mut self, line: &str) -> Result<(), Error> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let done = if let Some(rest) = line.strip_prefix("</") {
            rest.strip_suffix('>').ok_or(ErrorKind::TagNotClosed).and_then(|rest| self.end_section(rest))
        } else if let Some(rest) = line.strip_prefix('<') {
            rest.strip_suffix('>').ok_or(ErrorKind::TagNotClosed).and_then(|rest| self.start_section(rest))
        } else if let Some(rest) = line.strip_prefix('%') {
            return self.directive(rest);
        } else {
            self.entry(line)
        };
        done.map_err(|kind| self.error(kind))
    }

    fn start_section(&mut self, tag: &str) -> Result<(), ErrorKind> {
        let (tag, is_whole) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        // No blank may stand before the type, and none of the two may contain parentheses.
        let mut words = tag.split(is_blank);
        let kind = words.next().filter(|word| is_word(word)).ok_or(ErrorKind::MalformedTag)?;
        let mut words = words.filter(|word| !word.is_empty());
        let name = words.next();
        if words.next().is_some() || name.is_some_and(|name| !is_word(name)) {
            return Err(ErrorKind::MalformedTag);
        }
        let section = Section {
            kind: kind.to_lowercase(),
            name: name.map(str::to_lowercase),
            at: self.position(),
            items: Vec::new(),
        };
        if is_whole {
            self.add(Item::Section(section));
            return Ok(());
        }
        let depth_max = self.reader.limits.section_depth_max;
        if self.depth_outside + self.open.len() > depth_max {
            return Err(ErrorKind::TooDeep { depth_max });
        }
        self.open.push(section);
        Ok(())
    }

    fn end_section(&mut self, tag: &str) -> Result<(), ErrorKind> {
        let found = tag.trim_end_matches(is_blank).to_lowercase();
        // The first section does not belong to this file: an include cannot end what it is included in.
        match self.open.last() {
            Some(_) if self.open.len() < 2 => Err(ErrorKind::UnexpectedEnd { found }),
            None => Err(ErrorKind::UnexpectedEnd { found }),
            Some(section) if section.kind != found => Err(ErrorKind::UnbalancedEnd {
                found,
                expected: section.kind.clone(),
                opened_line: section.at.line,
            }),
            Some(_) => {
                if let Some(section) = self.open.pop() {
                    self.add(Item::Section(section));
                }
                Ok(())
            }
        }
    }

    fn entry(&mut self, line: &str) -> Result<(), ErrorKind> {
        let (key, value) = split_key(line).ok_or(ErrorKind::MalformedLine)?;
        let value = self.substitute(value)?;
        self.add(Item::Entry(Entry { key: key.into(), value, at: self.position() }));
        Ok(())
    }

    fn directive(&mut self, rest: &str) -> Result<(), Error> {
        let (name, argument) = split_key(rest).ok_or_else(|| self.error(ErrorKind::MissingDirective))?;
        let missing = |directive| ErrorKind::MissingArgument { directive };
        let done = match (name, argument) {
            ("define", "") => Err(missing("define")),
            ("include", "") => Err(missing("include")),
            ("import", "") => Err(missing("import")),
            ("define", _) => self.define(argument),
            ("import", _) => self.import(argument),
            ("include", _) => return self.include(argument),
            _ => Err(ErrorKind::UnknownDirective { name: name.into() }),
        };
        done.map_err(|kind| self.error(kind))
    }

    fn define(&mut self, argument: &str) -> Result<(), ErrorKind> {
        let (name, raw) = argument.split_once(is_blank).unwrap_or((argument, ""));
        let name = name.to_lowercase();
        let raw = raw.trim_start_matches(is_blank);
        // As in Python, the value before substitution is compared with the earlier one after it.
        if self.reader.defines.get(&name).is_some_and(|earlier| earlier != raw) {
            return Err(ErrorKind::Redefined { name });
        }
        if !is_name(&name) {
            return Err(ErrorKind::BadDefineName { name });
        }
        let value = self.substitute(raw)?;
        self.reader.defines.insert(name, value);
        Ok(())
    }

    fn import(&mut self, argument: &str) -> Result<(), ErrorKind> {
        let package = self.substitute(argument)?;
        let at = self.position();
        self.reader.imports.push(Import { package, at });
        Ok(())
    }

    fn include(&mut self, argument: &str) -> Result<(), Error> {
        let target = self.substitute(argument).map_err(|kind| self.error(kind))?;
        let at = self.position();
        let depth = self.depth_outside + self.open.len() - 1;
        if let Some(section) = self.open.pop() {
            let section = self.reader.include(&target, section, depth, &at)?;
            self.open.push(section);
        }
        Ok(())
    }

    fn add(&mut self, item: Item) {
        if let Some(section) = self.open.last_mut() {
            section.items.push(item);
        }
    }

    fn substitute(&self, text: &str) -> Result<String, ErrorKind> {
        let len_max = self.reader.limits.value_len_max;
        substitute(text, &self.reader.defines, self.reader.environment, len_max)
    }

    fn position(&self) -> Position {
        Position { file: Arc::clone(&self.file), line: self.line }
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error { at: self.position(), kind }
    }
}

/// Whether `word` can be the type or name of a section.
fn is_word(word: &str) -> bool {
    !word.is_empty() && !word.contains(['(', ')'])
}

/// Splits a line into its key, which ends before the first blank or parenthesis, and its value.
fn split_key(line: &str) -> Option<(&str, &str)> {
    let end = line.find(|c: char| is_blank(c) || c == '(' || c == ')').unwrap_or(line.len());
    let (key, value) = line.split_at_checked(end)?;
    (!key.is_empty()).then(|| (key, value.trim_start_matches(is_blank)))
}
