//! What the trusted request says: its texts, words, numbers and dates.

use std::collections::HashSet;

use super::{
    date::{Date, dates, without_dates},
    leaves::Leaf,
    text,
    verbs::Asked,
};
use crate::tool::Tool;

/// All that the person (or whoever started the run) said.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    texts: Vec<String>,
    loose: Vec<String>,
    tokens: HashSet<String>,
    numbers: HashSet<String>,
    dates: Vec<Date>,
    years: HashSet<u32>,
    asked: Asked,
}

impl Request {
    pub(super) fn say(&mut self, leaves: &[Leaf]) {
        for leaf in leaves {
            let text = text::strict(&leaf.text);
            self.asked.say(&text);
            self.tokens.extend(text::tokens(&text));
            self.numbers.extend(text::tokens(&without_dates(&text)));
            for (date, _) in dates(&text) {
                self.years.extend(date.year);
                self.dates.push(date);
            }
            self.texts.push(text);
            self.loose.push(text::loose(&leaf.text));
        }
    }

    pub(super) fn asks_for(&self, tool: &Tool) -> bool {
        self.asked.covers(tool)
    }

    pub(super) fn has_token(&self, token: &str) -> bool {
        self.tokens.contains(token)
    }

    pub(super) fn has_number(&self, number: &str) -> bool {
        self.numbers.contains(number)
    }

    /// Whether the text stands in the request as it is.
    pub(super) fn has_text(&self, text: &str) -> bool {
        self.texts.iter().any(|said| text::has_whole(said, text))
    }

    /// Whether the request holds the text (in loose form), be it within a word.
    pub(super) fn contains(&self, loose: &str) -> bool {
        self.loose.iter().any(|said| said.contains(loose))
    }

    /// Whether the text holds dates, all of them dates of the request. A year left out there is any year that it names.
    pub(super) fn has_dates(&self, text: &str) -> bool {
        let wanted = dates(text);
        let fits = |date: &Date| {
            self.dates.iter().any(|said| {
                (said.month, said.day) == (date.month, date.day)
                    && (said.year == date.year
                        || (said.year.is_none()
                            && (self.years.is_empty() || date.year.is_some_and(|year| self.years.contains(&year)))))
            })
        };
        !wanted.is_empty() && wanted.iter().all(|(date, _)| fits(date))
    }
}
