//! A typed walk over a parsed TOML file that collects problems instead of
//! stopping at the first.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> At<T> {
    pub(super) fn with<U>(&self, value: U) -> At<U> {
        At {
            value,
            span: self.span.clone(),
        }
    }
}

/// The place of a section that is not there.
pub(super) const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

/// Collects problems; knows the text, to tell lines from offsets.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    text: &'t str,
    list: RefCell<Vec<Problem>>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            list: RefCell::default(),
        }
    }

    /// Notes a problem at a place of the text.
    pub(super) fn add(&self, span: &Range<usize>, message: impl Into<String>, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        if *span == NOWHERE {
            let problem = Problem {
                line: 0,
                column: 0,
                message: message.into(),
                help,
            };
            return self.list.borrow_mut().push(problem);
        }
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.list.borrow_mut().push(Problem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
            help,
        });
    }

    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        !self.list.borrow().is_empty()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.list.borrow().len()
    }

    /// The problems, by place.
    pub(super) fn finish(self) -> Vec<Problem> {
        let mut list = self.list.into_inner();
        list.sort_by_key(|problem| (problem.line, problem.column));
        list
    }
}

/// A value that may be given in several ways.
pub(super) enum Form<'a, 't> {
    Switch(At<bool>),
    Text(At<String>),
    Table(Section<'a, 't>),
}

/// A table of the manifest that is being read: keys are taken out of it, and
/// what nobody took is unknown.
pub(super) struct Section<'a, 't> {
    problems: &'a Problems<'t>,
    /// `[cluster]`, for messages.
    name: String,
    entries: Vec<(&'a str, Range<usize>, &'a Spanned<DeValue<'t>>)>,
    asked: Vec<&'static str>,
    given: Vec<&'static str>,
    /// Where the section stands; [`NOWHERE`] where it is missing.
    pub(super) span: Range<usize>,
}

impl<'a, 't> Section<'a, 't> {
    pub(super) fn new(
        problems: &'a Problems<'t>,
        name: impl Into<String>,
        table: &'a DeTable<'t>,
        span: Range<usize>,
    ) -> Self {
        let entry = |(key, value): (&'a Spanned<_>, &'a Spanned<DeValue<'t>>)| {
            let text: &'a std::borrow::Cow<'t, str> = key.get_ref();
            (text.as_ref(), key.span(), value)
        };
        let entries = table.iter().map(entry).collect();
        Self {
            problems,
            name: name.into(),
            entries,
            asked: Vec::new(),
            given: Vec::new(),
            span,
        }
    }

    pub(super) fn missing(problems: &'a Problems<'t>, name: &str) -> Self {
        let (name, span) = (name.to_owned(), NOWHERE);
        Self {
            problems,
            name,
            entries: Vec::new(),
            asked: Vec::new(),
            given: Vec::new(),
            span,
        }
    }

    /// Whether a key that was asked for is there, whatever its value.
    pub(super) fn gives(&self, key: &str) -> bool {
        self.given.contains(&key)
    }

    /// Whether nothing is left in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many problems the manifest has so far.
    pub(super) fn problems(&self) -> usize {
        self.problems.count()
    }

    /// Notes a problem.
    pub(super) fn problem(&self, span: &Range<usize>, message: impl Into<String>, help: &str) {
        self.problems.add(span, message, help);
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'t>>> {
        self.asked.push(key);
        let at = self.entries.iter().position(|(name, ..)| *name == key)?;
        self.given.push(key);
        Some(self.entries.swap_remove(at).2)
    }

    /// Takes a value that `read` turns into what is `wanted`.
    fn take_as<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'a DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        let found = self.take(key)?;
        let value = read(found.get_ref());
        if value.is_none() {
            // A number that does not fit is shown: its type is not what is wrong.
            let given = match found.get_ref() {
                DeValue::Integer(number) => number.to_string(),
                other => type_name(other).to_owned(),
            };
            let message = format!("`{key}` in {} must be {wanted}, not {given}", self.name);
            self.problem(&found.span(), message, "");
        }
        Some(At {
            value: value?,
            span: found.span(),
        })
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        self.take_as(key, "a string in quotes", |value| {
            value.as_str().map(str::to_owned)
        })
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        self.take_as(key, "true or false", DeValue::as_bool)
    }

    pub(super) fn number(&mut self, key: &'static str) -> Option<At<u32>> {
        self.take_as(key, "a number from 0 to 4294967295", |value| {
            let integer = value.as_integer()?;
            u32::from_str_radix(integer.as_str(), integer.radix()).ok()
        })
    }

    /// A value that may be given in several ways; `wanted` names them.
    pub(super) fn form(&mut self, key: &'static str, wanted: &str) -> Option<Form<'a, 't>> {
        let found = self.take(key)?;
        let span = found.span();
        match found.get_ref() {
            DeValue::Boolean(value) => Some(Form::Switch(At {
                value: *value,
                span,
            })),
            DeValue::String(text) => Some(Form::Text(At {
                value: text.to_string(),
                span,
            })),
            DeValue::Table(table) => {
                let name = format!("`{key}` of {}", self.name);
                Some(Form::Table(Self::new(self.problems, name, table, span)))
            }
            other => {
                let (kind, name) = (type_name(other), &self.name);
                let message = format!("`{key}` in {name} must be {wanted}, not {kind}");
                self.problem(&span, message, "");
                None
            }
        }
    }

    /// A list of strings; where `single`, one string counts as a list of one.
    pub(super) fn strings(&mut self, key: &'static str, single: bool) -> Vec<At<String>> {
        let Some(found) = self.take(key) else {
            return Vec::new();
        };
        let one = |found: &Spanned<DeValue<'t>>| {
            let value = found.get_ref().as_str()?.to_owned();
            Some(At {
                value,
                span: found.span(),
            })
        };
        if single && let Some(value) = one(found) {
            return vec![value];
        }
        let Some(array) = found.get_ref().as_array() else {
            let kind = type_name(found.get_ref());
            let message = format!(
                "`{key}` in {} must be a list of strings, not {kind}",
                self.name
            );
            self.problem(&found.span(), message, &format!("write {key} = [\"…\"]"));
            return Vec::new();
        };
        let item = |item| {
            one(item).or_else(|| {
                let kind = type_name(item.get_ref());
                let message = format!("`{key}` in {} holds {kind} among its strings", self.name);
                self.problem(&item.span(), message, "");
                None
            })
        };
        array.iter().filter_map(item).collect()
    }

    /// A list of tables, such as `[{ a = 1 }]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Self> {
        let Some(found) = self.take(key) else {
            return Vec::new();
        };
        let name = format!("`{key}` of {}", self.name);
        let Some(array) = found.get_ref().as_array() else {
            let kind = type_name(found.get_ref());
            self.problem(
                &found.span(),
                format!("{name} must be a list of tables, not {kind}"),
                "",
            );
            return Vec::new();
        };
        let section = |item: &'a Spanned<DeValue<'t>>| match item.get_ref().as_table() {
            Some(table) => Some(Self::new(self.problems, name.clone(), table, item.span())),
            None => {
                let kind = type_name(item.get_ref());
                self.problem(
                    &item.span(),
                    format!("{name} holds {kind} among its tables"),
                    "",
                );
                None
            }
        };
        array.iter().filter_map(section).collect()
    }

    /// A table within this one; an empty one where it is missing.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let name = format!("[{key}]");
        let Some(found) = self.take(key) else {
            return Self::missing(self.problems, &name);
        };
        match found.get_ref().as_table() {
            Some(table) => Self::new(self.problems, name, table, found.span()),
            None => {
                let message = format!("`{key}` must be a section, {name}");
                self.problem(&found.span(), message, "");
                Self::missing(self.problems, &name)
            }
        }
    }

    /// A table within this one, where it is there.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Self> {
        let there = self.entries.iter().any(|(name, ..)| *name == key);
        let section = self.section(key);
        there.then_some(section)
    }

    /// All remaining entries as sections of their own, by key.
    pub(super) fn subsections(mut self) -> Vec<(At<&'a str>, Self)> {
        let prefix = self.name.trim_matches(['[', ']']).to_owned();
        let problems = self.problems;
        std::mem::take(&mut self.entries)
            .into_iter()
            .filter_map(|(key, span, value)| {
                let name = format!("[{prefix}.{key}]");
                let Some(table) = value.get_ref().as_table() else {
                    let help = format!("what differs on a node stands in a section, [{prefix}.3]");
                    problems.add(&span, format!("`{key}` must be a section, {name}"), &help);
                    return None;
                };
                let section = Self::new(problems, name, table, span.clone());
                Some((At { value: key, span }, section))
            })
            .collect()
    }

    /// Refuses a key with advice of its own.
    pub(super) fn refuse(&mut self, key: &'static str, why: &str, help: &str) {
        // Not among the keys to propose for a misspelt one.
        if let Some(at) = self.entries.iter().position(|(name, ..)| *name == key) {
            let (_, span, _) = self.entries.swap_remove(at);
            self.problem(&span, format!("`{key}` in {}: {why}", self.name), help);
        }
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, span, _) in &self.entries {
            let nearest = nearest(key, &self.asked);
            let help = match nearest {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("{} knows {}", self.name, self.asked.join(", ")),
            };
            self.problem(span, format!("unknown key `{key}` in {}", self.name), &help);
        }
    }
}

/// The name that `word` is most likely a slip of.
pub(super) fn nearest<'n>(word: &str, names: &[&'n str]) -> Option<&'n str> {
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), *name))
        .filter(|(distance, name)| *distance <= (name.len().max(word.len()) / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
