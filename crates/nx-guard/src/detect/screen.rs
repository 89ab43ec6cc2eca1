//! Screening of messages, in the style of hosted guard services: what is flagged, by which detector, where.
//!
//! `flagged` says that a score has reached a threshold. It is a label as all the others: whoever asked decides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Budget, Detector, Detectors, Finding, Kind};
use crate::{call::Scores, guard::SUSPECT};

/// Who speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whoever runs the model. Its text is not looked at for injections: telling the model what to do is its purpose.
    System,
    /// Whoever asks. A request is what one expects of them, so that only what turns on the model counts.
    #[default]
    User,
    /// The model.
    Assistant,
    /// A tool, a document, a web page: data, in which nothing should tell the model what to do.
    Tool,
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks; `user` if left out.
    #[serde(default)]
    pub role: Role,
    /// The text.
    pub content: String,
}

/// Scores from which on a message is flagged, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// For injections.
    pub injection: u8,
    /// For personal data.
    pub pii: u8,
    /// For secrets.
    pub secrets: u8,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { injection: SUSPECT, pii: 60, secrets: 60 }
    }
}

/// A finding, and the message it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Traced {
    /// The message's place in the request.
    pub message: usize,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Screened {
    /// A score has reached its threshold, or not all could be looked at.
    pub flagged: bool,
    /// Which scores have.
    pub categories: BTreeMap<&'static str, bool>,
    /// The highest scores of all messages.
    pub scores: Scores,
    /// The findings, by message and place.
    pub findings: Vec<Traced>,
    /// Whether all was looked at.
    pub complete: bool,
}

impl Detectors {
    /// Screens messages. The budget holds for all of them together.
    pub fn screen(&self, messages: &[Message], thresholds: Thresholds, budget: Budget) -> Screened {
        let mut screened = Screened { complete: true, ..Screened::default() };
        let mut left = budget;
        for (place, message) in messages.iter().enumerate() {
            let report = self.scan(&message.content, left);
            left.bytes = left.bytes.saturating_sub(report.bytes);
            left.work = left.work.saturating_sub(report.work);
            screened.complete &= report.complete;
            for finding in report.findings.into_iter().filter(|finding| counts(message.role, finding)) {
                left.findings = left.findings.saturating_sub(1);
                let score = match finding.detector {
                    Detector::Injection | Detector::Unicode => &mut screened.scores.injection,
                    Detector::Pii => &mut screened.scores.pii,
                    Detector::Secrets => &mut screened.scores.secrets,
                    Detector::Anomaly => continue,
                };
                *score = finding.score.max(*score);
                if finding.kind.takes_over() {
                    screened.scores.takeover = finding.score.max(screened.scores.takeover);
                }
                screened.findings.push(Traced { message: place, finding });
            }
        }
        let Scores { injection, pii, secrets, .. } = screened.scores;
        screened.categories = BTreeMap::from([
            ("injection", injection >= thresholds.injection),
            ("pii", pii >= thresholds.pii),
            ("secrets", secrets >= thresholds.secrets),
        ]);
        screened.flagged = !screened.complete || screened.categories.values().any(|reached| *reached);
        screened
    }
}

/// Whether a finding says something about a message of this role.
fn counts(role: Role, finding: &Finding) -> bool {
    match role {
        Role::Tool => true,
        Role::User | Role::Assistant => finding.kind != Kind::Instruction,
        Role::System => !matches!(finding.kind, Kind::Instruction | Kind::Override),
    }
}
