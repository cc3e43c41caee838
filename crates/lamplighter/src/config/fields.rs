//! Takes fields out of one table of the file, and notes what is wrong with each instead of stopping at the first.

use super::reader::{Finding, nearest, suggest};
use lamplighter_core::config::{Secret, Severity, Step, parse_size};
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// One table of the file, while it is read.
pub(super) struct Fields<'t, 'f> {
    table: &'t DeTable<'t>,
    /// The way to this table.
    path: Vec<Step>,
    /// Where its header stands, for what is missing in it.
    header: Range<usize>,
    /// Its name as people know it: `[[node]]`; empty for the whole file.
    title: &'static str,
    findings: &'f mut Vec<Finding>,
}

impl<'t, 'f> Fields<'t, 'f> {
    /// The whole file.
    pub(super) fn root(table: &'t DeTable<'t>, findings: &'f mut Vec<Finding>) -> Self {
        Self { table, path: vec![], header: 0..0, title: "", findings }
    }

    /// The field `name`, read by `read`; what `read` says against it is noted.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.table.get(name)?;
        match read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(why) => {
                self.note(&[Step::Field(name.into())], value.span(), format!("`{name}`: {why}"));
                None
            }
        }
    }

    /// The same for a field that must be there. `example` is how people write it.
    pub(super) fn required<T>(
        &mut self,
        name: &str,
        example: &str,
        read: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<T> {
        if !self.table.contains_key(name) {
            let message = format!("{} has no `{name}`: add a line like {name} = {example}", self.title);
            self.note(&[Step::Field(name.into())], self.header.clone(), message);
            self.findings.last_mut()?.missing = true;
        }
        self.optional(name, read)
    }

    /// A list of which every entry is read by `read`. An entry that cannot be read is noted and `None`, so that the
    /// others keep their places.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        read: impl Fn(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<Vec<Option<T>>> {
        let value = self.table.get(name)?;
        let Some(entries) = value.get_ref().as_array() else {
            let found = describe(value.get_ref());
            let hint = if value.get_ref().is_str() { ": put it in [ ]" } else { "" };
            let message = format!("`{name}`: expected a list, found {found}{hint}");
            self.note(&[Step::Field(name.into())], value.span(), message);
            return None;
        };
        let mut list = Vec::with_capacity(entries.len());
        for (i, entry) in entries.iter().enumerate() {
            let entry_read = read(entry.get_ref());
            if let Err(why) = &entry_read {
                let place = [Step::Field(name.into()), Step::Index(i)];
                self.note(&place, entry.span(), format!("`{name}`: {why}"));
            }
            list.push(entry_read.ok());
        }
        Some(list)
    }

    /// A table that stands there once, like `[server]`, with the fields `known`.
    pub(super) fn table<T>(
        &mut self,
        name: &str,
        title: &'static str,
        known: &[&str],
        read: impl FnOnce(&mut Fields<'t, '_>) -> T,
    ) -> Option<T> {
        let value = self.table.get(name)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(self.inside(&[Step::Field(name.into())], title, known, table, value.span(), read))
            }
            DeValue::Array(tables) if tables.iter().any(|entry| entry.get_ref().is_table()) => {
                self.note(
                    &[Step::Field(name.into())],
                    value.span(),
                    format!("there is only one {title}, in single brackets"),
                );
                None
            }
            other => {
                let message = format!("expected the table {title}, found {}", describe(other));
                self.note(&[Step::Field(name.into())], value.span(), message);
                None
            }
        }
    }

    /// Is `name` written as a table?
    pub(super) fn is_table(&self, name: &str) -> bool {
        self.table.get(name).is_some_and(|value| value.get_ref().is_table())
    }

    /// Is `name` written at all?
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// A complaint about this table as a whole.
    pub(super) fn complain(&mut self, message: String) {
        let header = self.header.clone();
        self.note(&[], header, message);
    }

    /// A table whose fields the user names, each read by `read`; what cannot be read is noted and left out.
    pub(super) fn pairs<T>(
        &mut self,
        name: &str,
        read: impl Fn(&str, &DeValue<'t>) -> Result<T, String>,
    ) -> Vec<(String, T)> {
        let Some(value) = self.table.get(name) else { return vec![] };
        let field = Step::Field(name.into());
        let DeValue::Table(table) = value.get_ref() else {
            let message =
                format!("`{name}`: expected {{ name = \"value\" }}, found {}", describe(value.get_ref()));
            self.note(&[field], value.span(), message);
            return vec![];
        };
        let mut pairs = Vec::new();
        for (key, value) in table.iter() {
            let key_name = key.get_ref().as_ref();
            match read(key_name, value.get_ref()) {
                Ok(read) => pairs.push((key_name.to_owned(), read)),
                Err(why) => {
                    let place = [field.clone(), Step::Field(key_name.into())];
                    self.note(&place, value.span(), format!("`{name}`: {key_name}: {why}"));
                }
            }
        }
        pairs
    }

    /// Tables of which there can be several, like `[[node]]`, with the fields `known`; at most `max`.
    pub(super) fn tables<T>(
        &mut self,
        name: &str,
        title: &'static str,
        known: &[&str],
        max: usize,
        read: impl Fn(&mut Fields<'t, '_>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.table.get(name) else { return vec![] };
        let field = Step::Field(name.into());
        let entries = match value.get_ref() {
            DeValue::Array(entries) => entries.iter().collect(),
            DeValue::Table(_) => {
                let message = format!("write {title}, in double brackets: there can be several");
                self.note(std::slice::from_ref(&field), value.span(), message);
                vec![value]
            }
            other => {
                let message = format!("expected tables {title}, found {}", describe(other));
                self.note(&[field], value.span(), message);
                return vec![];
            }
        };
        if let Some(first_too_many) = entries.get(max) {
            self.note(
                std::slice::from_ref(&field),
                first_too_many.span(),
                format!("more than {max} {title} are not read"),
            );
        }
        let mut tables = Vec::new();
        for (i, entry) in entries.into_iter().take(max).enumerate() {
            let place = [field.clone(), Step::Index(i)];
            match entry.get_ref() {
                DeValue::Table(table) => {
                    tables.push(self.inside(&place, title, known, table, entry.span(), &read))
                }
                other => {
                    let message = format!("expected a table {title}, found {}", describe(other));
                    self.note(&place, entry.span(), message);
                    // What follows must not take its place: complaints go by position.
                    break;
                }
            }
        }
        tables
    }

    fn inside<T>(
        &mut self,
        steps: &[Step],
        title: &'static str,
        known: &[&str],
        table: &'t DeTable<'t>,
        header: Range<usize>,
        read: impl FnOnce(&mut Fields<'t, '_>) -> T,
    ) -> T {
        let path = [&self.path, steps].concat();
        let mut fields = Fields { table, path, header, title, findings: &mut *self.findings };
        let value = read(&mut fields);
        fields.refuse_unknown(known);
        value
    }

    /// Complains about every field that is not in `known`.
    pub(super) fn refuse_unknown(&mut self, known: &[&str]) {
        for (key, value) in self.table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let message = suggest(name, value.get_ref(), self.title, known);
            self.note(&[Step::Field(name.into())], key.span(), message);
        }
    }

    fn note(&mut self, steps: &[Step], span: Range<usize>, message: String) {
        let path = [&self.path, steps].concat();
        self.findings.push(Finding { path, span, severity: Severity::Error, message, missing: false });
    }
}

/// Reads text.
pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(_) | DeValue::Float(_) => {
            Err(format!("expected text, found {}: put it in quotes", describe(value)))
        }
        other => Err(format!("expected text, found {}", describe(other))),
    }
}

/// Reads text that is then read by `parse`.
pub(super) fn parsed<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| parse(&text(value)?)
}

/// Reads a size in bytes: `"24GB"`.
pub(super) fn size(value: &DeValue<'_>) -> Result<u64, String> {
    match value {
        DeValue::Integer(_) | DeValue::Float(_) => {
            Err(format!("expected text, found {}: write it with its unit, like \"24GB\"", describe(value)))
        }
        _ => parse_size(&text(value)?),
    }
}

/// Reads a duration, `"2m"`, that is then read by `parse`.
pub(super) fn duration(
    parse: impl Fn(&str) -> Result<u64, String>,
) -> impl Fn(&DeValue<'_>) -> Result<u64, String> {
    move |value| match value {
        DeValue::Integer(_) | DeValue::Float(_) => {
            Err(format!("expected text, found {}: write it with its unit, like \"2m\"", describe(value)))
        }
        _ => parse(&text(value)?),
    }
}

/// Reads `env:NAME` or `file:PATH`. Whatever stands there instead is not repeated: it may be the key itself.
pub(super) fn secret(value: &DeValue<'_>) -> Result<Secret, String> {
    Secret::parse(value.as_str().unwrap_or_default())
}

/// Reads a whole number that fits into `T`.
pub(super) fn whole<T: TryFrom<i64>>(value: &DeValue<'_>) -> Result<T, String> {
    let wrong = |hint: &str| Err(format!("expected a whole number, found {}{hint}", describe(value)));
    match value {
        DeValue::Integer(number) => {
            match i64::from_str_radix(number.as_str(), number.radix()).map(T::try_from) {
                Ok(Ok(number)) => Ok(number),
                _ => wrong(if number.as_str().starts_with('-') {
                    ": that is too small"
                } else {
                    ": that is too large"
                }),
            }
        }
        DeValue::String(text) if text.trim().parse::<i64>().is_ok() => wrong(": leave out the quotes"),
        _ => wrong(""),
    }
}

/// Reads `true` or `false`.
pub(super) fn yes_or_no(value: &DeValue<'_>) -> Result<bool, String> {
    let wrong = |hint: &str| Err(format!("expected true or false, found {}{hint}", describe(value)));
    match value {
        DeValue::Boolean(value) => Ok(*value),
        DeValue::String(text) if matches!(text.trim(), "true" | "false") => wrong(": leave out the quotes"),
        _ => wrong(""),
    }
}

/// Reads one of the words that `all` allows.
pub(super) fn word<T: Copy>(
    what: &'static str,
    all: &'static [T],
    word_of: fn(T) -> &'static str,
) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let typed = text(value)?;
        if let Some(&known) = all.iter().find(|&&known| word_of(known) == typed) {
            return Ok(known);
        }
        let words: Vec<&str> = all.iter().map(|&known| word_of(known)).collect();
        let hint = match nearest(&typed, &words) {
            Some(near) => format!("did you mean {near:?}? It"),
            None => "it".into(),
        };
        Err(format!("{} is no {what}: {hint} is one of {}", quoted(&typed), words.join(", ")))
    }
}

/// What stands there, for people.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text {}", quoted(text)),
        DeValue::Integer(number) => format!("the number {}", cut(&number.to_string())),
        DeValue::Float(number) => format!("the number {}", cut(number.as_str())),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
