//! Rows of a replayed file: CSV with a header line, or one JSON object a line. Bounded: a row that never ends is an
//! error, not memory.

use std::{
    io::{self, BufRead as _, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use nx_types::{Timestamp, json};
use serde_json::{Map, Value};

use crate::kinds::source::Format;

/// Most bytes of one row.
pub(crate) const MAX_ROW_BYTES: usize = 64 << 10;
/// Most columns.
const MAX_COLUMNS: usize = 512;

/// A row: its columns as a JSON object, and its time, if there is a column for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) data: Map<String, Value>,
    pub(crate) time: Option<Timestamp>,
}

/// Reads rows one by one.
pub(crate) struct Table {
    rows: Rows,
    time: Option<String>,
    number: u64,
}

enum Rows {
    Csv { reader: csv::Reader<Bounded>, header: Vec<String>, record: csv::StringRecord },
    Lines(BufReader<Bounded>),
}

impl Table {
    /// Opens a file's content.
    pub(crate) fn open(content: Box<dyn Read + Send>, format: Format, time: Option<&str>) -> Result<Self, String> {
        let bounded = Bounded { inner: content, left: Arc::default() };
        let rows = match format {
            Format::Csv => {
                bounded.refill();
                let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bounded);
                let header: Vec<String> =
                    reader.headers().map_err(|err| err.to_string())?.iter().map(str::to_owned).collect();
                if header.len() > MAX_COLUMNS {
                    return Err(format!("it has {} columns, at most {MAX_COLUMNS} are read", header.len()));
                }
                Rows::Csv { reader, header, record: csv::StringRecord::new() }
            }
            Format::Ndjson => Rows::Lines(BufReader::new(bounded)),
        };
        let table = Self { rows, time: time.map(str::to_owned), number: 0 };
        table.check_time_column()?;
        Ok(table)
    }

    fn check_time_column(&self) -> Result<(), String> {
        let (Rows::Csv { header, .. }, Some(time)) = (&self.rows, &self.time) else { return Ok(()) };
        if header.contains(time) {
            return Ok(());
        }
        let nearest = nx_types::kind::nearest(time, header.iter().map(String::as_str)).unwrap_or_default();
        Err(format!("it has no column `{time}`; did you mean `{nearest}`?"))
    }

    /// The next row; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Row>, String> {
        self.number += 1;
        let number = self.number;
        let wrong = |detail: String| format!("row {number}: {detail}");
        let data = match &mut self.rows {
            Rows::Csv { reader, header, record } => {
                reader.get_ref().refill();
                if !reader.read_record(record).map_err(|err| wrong(err.to_string()))? {
                    return Ok(None);
                }
                if record.len() != header.len() {
                    return Err(wrong(format!("it has {} columns, the header has {}", record.len(), header.len())));
                }
                header.iter().zip(record.iter()).map(|(name, text)| (name.clone(), scalar(text))).collect()
            }
            Rows::Lines(reader) => match next_object(reader).map_err(wrong)? {
                Some(data) => data,
                None => return Ok(None),
            },
        };
        let time = match &self.time {
            None => None,
            Some(column) => Some(row_time(&data, column).map_err(wrong)?),
        };
        Ok(Some(Row { data, time }))
    }
}

fn next_object(reader: &mut BufReader<Bounded>) -> Result<Option<Map<String, Value>>, String> {
    loop {
        reader.get_ref().refill();
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).map_err(|err| err.to_string())? == 0 {
            return Ok(None);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let value: Value = serde_json::from_slice(&line).map_err(|err| err.to_string())?;
        json::check(&value).map_err(|err| err.to_string())?;
        return match value {
            Value::Object(data) => Ok(Some(data)),
            _ => Err("it is not a JSON object".to_owned()),
        };
    }
}

fn row_time(data: &Map<String, Value>, column: &str) -> Result<Timestamp, String> {
    let value = data.get(column).ok_or_else(|| format!("it has no `{column}`"))?;
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    parse_time(&text).ok_or_else(|| format!("`{text}` in column `{column}` is not a time"))
}

/// A CSV cell as the JSON value that it spells. Numbers that JSON readers would change stay texts.
fn scalar(text: &str) -> Value {
    match text {
        "" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).unwrap_or_else(|| Value::from(text)),
    }
}

fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    // `007` is a number to nobody who wrote it.
    if !digits.starts_with(|c: char| c.is_ascii_digit())
        || (digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0."))
    {
        return None;
    }
    if let Ok(whole) = text.parse::<i64>() {
        return (whole.unsigned_abs() <= json::MAX_SAFE_INTEGER).then(|| Value::from(whole));
    }
    text.parse::<f64>().ok().filter(|real| real.is_finite()).map(Value::from)
}

/// A time as files spell it: RFC 3339, a civil date and time (UTC), or seconds, milliseconds or microseconds since
/// 1970.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(number) = text.parse::<f64>() {
        let size = number.abs();
        let micros = if size < 1e11 {
            number * 1e6
        } else if size < 1e14 {
            number * 1e3
        } else {
            number
        };
        return (micros.is_finite() && micros.abs() < 2e17).then(|| Timestamp::from_micros(micros.round() as i64));
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let time = jiff::tz::Offset::UTC.to_timestamp(civil).ok()?;
    Some(Timestamp::from_micros(time.as_microsecond()))
}

/// A reader that fails when a row takes more than its bound. What the reader above buffers ahead is counted to the
/// row at hand, so the bound is met within one buffer.
struct Bounded {
    inner: Box<dyn Read + Send>,
    left: Arc<AtomicUsize>,
}

impl Bounded {
    fn refill(&self) {
        self.left.store(MAX_ROW_BYTES, Ordering::Relaxed);
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::other(format!("a row has more than {MAX_ROW_BYTES} bytes")));
        }
        let most = buffer.len().min(left);
        let read = buffer.get_mut(..most).map_or(Ok(0), |part| self.inner.read(part))?;
        self.left.store(left - read, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rows(content: &str, format: Format, time: Option<&str>) -> Result<Vec<Row>, String> {
        let mut table = Table::open(Box::new(Cursor::new(content.to_owned())), format, time)?;
        let mut rows = Vec::new();
        while let Some(row) = table.next()? {
            rows.push(row);
        }
        Ok(rows)
    }

    #[test]
    fn csv_columns_become_data() {
        let content =
            "timestamp,value,ok,code,note\n2013-12-02 21:15:00,73.96,true,007,\"a, b\"\n1386018900,-4,,1e3,x\n";
        let found = rows(content, Format::Csv, Some("timestamp")).expect("reads");
        assert_eq!(
            Value::Object(found[0].data.clone()),
            json!({ "timestamp": "2013-12-02 21:15:00", "value": 73.96, "ok": true, "code": "007", "note": "a, b" })
        );
        assert_eq!(found[0].time.map(|time| time.to_string()), Some("2013-12-02T21:15:00.000000Z".to_owned()));
        assert_eq!(found[1].time, found[0].time);
        assert_eq!(found[1].data["ok"], Value::Null);
        assert_eq!(found[1].data["code"], json!(1000.0));
    }

    #[test]
    fn lines_of_json_become_data() {
        let found =
            rows("{\"t\":1386018900000,\"v\":1}\n\n{\"t\":\"2013-12-02T21:15:00Z\"}", Format::Ndjson, Some("t"));
        let found = found.expect("reads");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].time, found[1].time);
    }

    #[test]
    fn mistakes_name_the_row() {
        for (content, format, time, part) in [
            ("a,b\n1,2\n3\n", Format::Csv, None, "row 2: it has 1 columns"),
            ("a,b\n1,2\n", Format::Csv, Some("aa"), "did you mean `a`"),
            ("t\nsoon\n", Format::Csv, Some("t"), "row 1: `soon`"),
            ("{}\n[1]\n", Format::Ndjson, None, "row 2: it is not a JSON object"),
            ("{}\n{", Format::Ndjson, None, "row 2: "),
            ("{\"n\":9007199254740993}", Format::Ndjson, None, "2^53"),
        ] {
            let error = rows(content, format, time).expect_err(content);
            assert!(error.contains(part), "{content}: {error}");
        }
        let endless = format!("a\n\"{}", "x".repeat(1 << 20));
        assert!(rows(&endless, Format::Csv, None).expect_err("is endless").contains("bytes"));
        let endless = "x".repeat(1 << 20);
        assert!(rows(&endless, Format::Ndjson, None).expect_err("is endless").contains("bytes"));
    }

    proptest! {
        #[test]
        fn no_content_panics(content in "[a-c0-9,\"\n{}:. -]{0,200}", lines in any::<bool>(), timed in any::<bool>()) {
            let format = if lines { Format::Ndjson } else { Format::Csv };
            drop(rows(&content, format, timed.then_some("a")));
        }

        #[test]
        fn csv_round_trips(cells in prop::collection::vec(prop::collection::vec("[a-z,\" \n]{0,8}", 3), 1..8)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["a", "b", "c"]).expect("writes");
            for row in &cells {
                writer.write_record(row).expect("writes");
            }
            let content = String::from_utf8(writer.into_inner().expect("flushes")).expect("is text");
            let found = rows(&content, Format::Csv, None).expect("reads");
            prop_assert_eq!(found.len(), cells.len());
            for (row, cells) in found.iter().zip(&cells) {
                prop_assert_eq!(&row.data["b"], &scalar(cells[1].trim()));
            }
        }
    }
}
