//! Calendar dates in text: `2025-01-11`, `January 11th to 15th 2025`, `11 January, 2025`.

use std::ops::Range;

/// A day; the year is often left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: Option<u32>,
    pub(super) month: u32,
    pub(super) day: u32,
}

struct Item<'a> {
    text: &'a str,
    at: Range<usize>,
    number: Option<u32>,
}

/// The dates of a text in strict normal form, with the bytes that they take.
pub(super) fn dates(text: &str) -> Vec<(Date, Range<usize>)> {
    let items = lex(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < items.len() {
        let rest = Reader { text, items: &items, at };
        match rest.clone().iso().or_else(|| rest.clone().month_first()).or_else(|| rest.clone().day_first()) {
            Some((dates, next)) => {
                found.extend(dates);
                at = next.max(at + 1);
            }
            None => at += 1,
        }
    }
    found
}

/// The text without its dates, so that their numbers are not taken for amounts.
pub(super) fn without_dates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (_, at) in dates(text) {
        if at.start >= from {
            out.push_str(text.get(from..at.start).unwrap_or_default());
            out.push(' ');
        }
        from = from.max(at.end);
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

fn lex(text: &str) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let mut start: Option<(usize, bool)> = None;
    let kind = |c: char| if c.is_ascii_digit() { Some(true) } else { c.is_alphabetic().then_some(false) };
    let mut close = |start: Option<(usize, bool)>, end: usize| {
        if let Some((from, digits)) = start {
            let part = text.get(from..end).unwrap_or_default();
            items.push(Item { text: part, at: from..end, number: if digits { part.parse().ok() } else { None } });
        }
    };
    for (at, c) in text.char_indices() {
        let now = kind(c);
        if start.map(|(_, digits)| digits) != now {
            close(start.take(), at);
            start = now.map(|digits| (at, digits));
        }
    }
    close(start, text.len());
    items
}

type Found = (Vec<(Date, Range<usize>)>, usize);

#[derive(Clone)]
struct Reader<'a> {
    text: &'a str,
    items: &'a [Item<'a>],
    at: usize,
}

impl<'a> Reader<'a> {
    fn item(&self) -> Option<&'a Item<'a>> {
        self.items.get(self.at)
    }

    /// What stands between the item before and this one.
    fn gap(&self) -> &'a str {
        let before = self.at.checked_sub(1).and_then(|at| self.items.get(at)).map_or(0, |item| item.at.end);
        self.item().and_then(|item| self.text.get(before..item.at.start)).unwrap_or_default()
    }

    fn end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.items.get(at)).map_or(0, |item| item.at.end)
    }

    fn number(&mut self, digits: Range<usize>) -> Option<u32> {
        let item = self.item().filter(|item| digits.contains(&item.text.len()))?;
        let number = item.number?;
        self.at += 1;
        Some(number)
    }

    fn month(&mut self) -> Option<u32> {
        let month = month(self.item()?.text)?;
        self.at += 1;
        Some(month)
    }

    /// A day with its ending, nothing else right behind it.
    fn day(&mut self) -> Option<u32> {
        let day = self.number(1..3).filter(|day| (1..=31).contains(day))?;
        if self.gap().is_empty() && self.item().is_some() {
            matches!(self.item()?.text, "st" | "nd" | "rd" | "th").then(|| self.at += 1)?;
        }
        Some(day)
    }

    fn try_year(&mut self) -> Option<u32> {
        if !matches!(self.gap(), " " | ", " | ",") {
            return None;
        }
        self.number(4..5)
    }

    fn iso(mut self) -> Option<Found> {
        let start = self.item()?.at.start;
        let year = self.number(4..5)?;
        let month = if self.gap() == "-" { self.number(2..3)? } else { return None };
        let day = if self.gap() == "-" { self.number(2..3)? } else { return None };
        Some((vec![(Date { year: Some(year), month, day }, start..self.end())], self.at))
    }

    fn month_first(mut self) -> Option<Found> {
        let start = self.item()?.at.start;
        let month = self.month()?;
        if !matches!(self.gap(), " " | ". ") {
            return None;
        }
        let mut days = vec![self.day()?];
        let mut range = self.clone();
        if let Some(day) = range.range() {
            days.push(day);
            self = range;
        }
        let year = self.try_year();
        let at = start..self.end();
        Some((days.into_iter().map(|day| (Date { year, month, day }, at.clone())).collect(), self.at))
    }

    /// `to 15th`, `- 15`, after a first day.
    fn range(&mut self) -> Option<u32> {
        let gap = self.gap();
        if matches!(gap, "-" | " - " | "–" | " – ") {
            return self.day();
        }
        if gap != " " || !matches!(self.item()?.text, "to" | "until" | "till" | "through" | "and") {
            return None;
        }
        self.at += 1;
        if self.gap() == " " { self.day() } else { None }
    }

    fn day_first(mut self) -> Option<Found> {
        let start = self.item()?.at.start;
        let day = self.day()?;
        if self.gap() == " " && self.item()?.text == "of" {
            self.at += 1;
        }
        let month = if self.gap() == " " { self.month()? } else { return None };
        let year = self.try_year();
        Some((vec![(Date { year, month, day }, start..self.end())], self.at))
    }
}

fn month(word: &str) -> Option<u32> {
    const NAMES: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let found = NAMES.iter().position(|name| *name == word || (word.len() == 3 && name.starts_with(word)))?;
    u32::try_from(found + 1).ok()
}
