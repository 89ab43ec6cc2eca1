//! Detectors: injection, personal data, secrets, Unicode tricks, anomalies. They label; they never decide.
