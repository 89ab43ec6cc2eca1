//! The motor: the temperature of a real machine that really failed, from the Numenta Anomaly Benchmark. Embedded as it
//! was published, with its licence and the windows that its authors labelled.
//!
//! The figures below were found by looking at the data. Of the four labelled windows the first is an overheating: from
//! 48.4 at 2013-12-10 10:15 the temperature climbs to 102.7 at 2013-12-11 06:00, the very middle of the window. The mean
//! of an hour (twelve readings) first exceeds 90 at 02:50, three hours and ten minutes before: reading 258 of the replay.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::Error;

/// The series: a reading every five minutes, 2013-12-02 21:15 to 2014-02-19 15:25, 22,695 of them.
pub const CSV: &str = include_str!("../data/machine_temperature_system_failure.csv");
/// The windows that NAB labels as anomalous.
pub const WINDOWS: &str = include_str!("../data/machine_temperature_system_failure.windows.json");
/// NAB's licence (MIT).
pub const LICENSE: &str = include_str!("../data/LICENSE-NAB.txt");

/// The first reading that is replayed: an hour before the first labelled window opens.
pub const REPLAY_FROM: &str = "2013-12-10T05:25:00Z";
/// The last reading that is replayed: the end of the labelled window.
pub const REPLAY_UNTIL: &str = "2013-12-12T05:35:00Z";
/// Milliseconds between readings in the replay. In the data it is five minutes: 9,000 times as fast as life.
pub const REPLAY_INTERVAL_MS: u32 = 33;
/// Readings that the reflex takes the mean of: an hour of the machine's life.
pub const WINDOW: usize = 12;
/// The mean above which the motor is too hot.
pub const LIMIT: f64 = 90.0;

/// The part of the series that is replayed, as CSV: all up to the end of the first labelled window.
pub fn replay() -> &'static str {
    CSV.find("2013-12-12 05:40:00,").and_then(|end| CSV.get(..end)).unwrap_or(CSV)
}

/// A reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// When it was taken.
    pub at: Timestamp,
    /// The temperature, in the unit of the data, which NAB does not name.
    pub value: f64,
}

/// Reads a series such as [`CSV`].
pub fn readings(series: &str) -> Result<Vec<Reading>, Error> {
    let mut rows = csv::Reader::from_reader(series.as_bytes());
    let mut readings = Vec::new();
    for row in rows.records() {
        let malformed = |line: u64| Error::Motor { line };
        let row = row.map_err(|error| malformed(error.position().map_or(0, csv::Position::line)))?;
        let line = row.position().map_or(0, csv::Position::line);
        let (Some(at), Some(value)) = (row.get(0), row.get(1)) else { return Err(malformed(line)) };
        let at: DateTime = at.parse().map_err(|_err| malformed(line))?;
        let at = TimeZone::UTC.to_timestamp(at).map_err(|_err| malformed(line))?;
        readings.push(Reading { at, value: value.parse().map_err(|_err| malformed(line))? });
    }
    Ok(readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed() -> Vec<Reading> {
        let from: Timestamp = REPLAY_FROM.parse().unwrap();
        readings(replay()).unwrap().into_iter().filter(|reading| reading.at >= from).collect()
    }

    /// The places at which the mean of [`WINDOW`] readings is above [`LIMIT`].
    fn too_hot(readings: &[Reading]) -> Vec<usize> {
        let mean = |window: &[Reading]| window.iter().map(|reading| reading.value).sum::<f64>() / WINDOW as f64;
        readings.windows(WINDOW).enumerate().filter(|(_, w)| mean(w) > LIMIT).map(|(n, _)| n + WINDOW - 1).collect()
    }

    #[test]
    fn the_series_is_whole() {
        let readings = readings(CSV).unwrap();
        assert_eq!(readings.len(), 22_695);
        assert!(WINDOWS.contains("2013-12-10 06:25:00"));
        assert!(LICENSE.contains("Numenta"));
    }

    #[test]
    fn the_reflex_fires_within_seconds_of_the_replay() {
        let readings = replayed();
        let first = too_hot(&readings)[0];
        assert_eq!(readings[first].at.to_string(), "2013-12-11T02:50:00Z");
        assert_eq!((readings.len(), first, readings.last().unwrap().at.to_string().as_str()), (579, 257, REPLAY_UNTIL));
        let millis = first as u32 * REPLAY_INTERVAL_MS;
        assert!(millis < 10_000, "{millis}");
    }
}
