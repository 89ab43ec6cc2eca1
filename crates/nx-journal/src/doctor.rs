//! What an examination of the log found.

/// What an examination found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DoctorReport {
    /// Each thing looked at, in order.
    pub checks: Vec<Check>,
}

impl DoctorReport {
    /// Whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.checks.iter().all(|check| check.problems.is_empty())
    }
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// What was seen, in one line.
    pub seen: String,
    /// What is wrong, each with its fix; empty if nothing is.
    pub problems: Vec<String>,
}
