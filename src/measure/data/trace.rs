//! One request of a trace: its time, its lengths, and the blocks that it shares with others.

use serde::Deserialize;

use super::stamp::{read_date, read_number};
use crate::measure::load::MOST_TOKENS;

/// Tokens of a block of the traces of Mooncake (`FAST25-release/traces/README.md` of kvcache-ai/Mooncake).
pub(super) const BLOCK: u32 = 512;

/// The format of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceFormat {
    /// JSON lines of Mooncake: `timestamp` in milliseconds, `input_length`, `output_length`, `hash_ids`.
    Mooncake,
    /// A table: of Azure's inference traces (`TIMESTAMP`, `ContextTokens`, `GeneratedTokens`; a date), or of `BurstGPT`
    /// (`Timestamp`, `Request tokens`, `Response tokens`; seconds).
    Table {
        /// The name of the trace.
        name: &'static str,
        /// The columns of the time, of the prompt's tokens and of the answer's.
        columns: [usize; 3],
        /// True if times are dates.
        has_dates: bool,
    },
}

/// A request of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceRow {
    /// Its time in nanoseconds, from a beginning that all rows share.
    pub at_ns: i64,
    /// Tokens of its prompt.
    pub input: u32,
    /// Tokens of its answer.
    pub output: u32,
    /// The names of its blocks of 512 tokens: requests with the same names at their start share these tokens.
    pub hashes: Vec<u64>,
}

impl TraceFormat {
    /// Returns the format of a file by its first line.
    ///
    /// # Errors
    /// The reason for which it is none.
    pub fn of_first_line(line: &[u8]) -> Result<Self, String> {
        if line.trim_ascii_start().first() == Some(&b'{') {
            return Ok(Self::Mooncake);
        }
        let names = split_row(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line))?;
        let column = |wanted: &str| names.iter().position(|name| name.trim() == wanted);
        let tables = [
            ("azure", ["TIMESTAMP", "ContextTokens", "GeneratedTokens"], true),
            (
                "burstgpt",
                ["Timestamp", "Request tokens", "Response tokens"],
                false,
            ),
        ];
        for (name, wanted, has_dates) in tables {
            if let [Some(at), Some(input), Some(output)] = wanted.map(column) {
                return Ok(Self::Table {
                    name,
                    columns: [at, input, output],
                    has_dates,
                });
            }
        }
        Err(
            "its first line is neither an object of Mooncake nor the columns of an Azure or BurstGPT trace"
                .to_owned(),
        )
    }

    /// The name of the format.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Mooncake => "mooncake",
            Self::Table { name, .. } => name,
        }
    }

    /// Returns true if the first line is no request.
    #[must_use]
    pub const fn has_header(&self) -> bool {
        matches!(self, Self::Table { .. })
    }

    /// Reads a line.
    ///
    /// # Errors
    /// The reason for which it is broken, in a few words.
    pub fn read(&self, line: &[u8]) -> Result<TraceRow, String> {
        let row = match self {
            Self::Mooncake => read_mooncake(line)?,
            Self::Table {
                columns, has_dates, ..
            } => read_table(line, *columns, *has_dates)?,
        };
        let blocks = row.hashes.len() as u64 * u64::from(BLOCK);
        if !row.hashes.is_empty() && blocks < u64::from(row.input) {
            return Err(format!(
                "{} hash_ids are too few for {} tokens in blocks of {BLOCK}",
                row.hashes.len(),
                row.input
            ));
        }
        Ok(row)
    }
}

fn read_mooncake(line: &[u8]) -> Result<TraceRow, String> {
    #[derive(Deserialize)]
    struct Line {
        timestamp: serde_json::Number,
        input_length: u64,
        output_length: u64,
        #[serde(default)]
        hash_ids: Vec<u64>,
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            "`timestamp`, `input_length`, `output_length` must be numbers, `hash_ids` a list of them"
                .to_owned()
        }
        _ => format!("it is not JSON at its byte {}", error.column()),
    })?;
    let at_ns = read_number(&line.timestamp.to_string(), 1e6).ok_or("its timestamp is not a time")?;
    Ok(TraceRow {
        at_ns,
        input: length("input_length", line.input_length)?,
        output: length("output_length", line.output_length)?,
        hashes: line.hash_ids,
    })
}

fn read_table(line: &[u8], columns: [usize; 3], has_dates: bool) -> Result<TraceRow, String> {
    let row = split_row(line)?;
    let [at, input, output] = columns.map(|column| row.get(column));
    let (Some(at), Some(input), Some(output)) = (at, input, output) else {
        return Err(format!("it has {} columns, fewer than the first line", row.len()));
    };
    let at_ns = if has_dates {
        read_date(at)
    } else {
        read_number(at, 1e9)
    };
    let tokens = |name: &str, text: &str| {
        let count = text
            .trim()
            .parse()
            .map_err(|_| format!("its {name} is not a number"))?;
        length(name, count)
    };
    Ok(TraceRow {
        at_ns: at_ns.ok_or("its time cannot be read")?,
        input: tokens("prompt's length", input)?,
        output: tokens("answer's length", output)?,
        hashes: Vec::new(),
    })
}

fn split_row(line: &[u8]) -> Result<csv::StringRecord, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(line);
    let mut row = csv::StringRecord::new();
    match reader.read_record(&mut row) {
        Ok(true) => Ok(row),
        Ok(false) => Err("it is empty".to_owned()),
        Err(_) => Err("it is not a row of a table in UTF-8".to_owned()),
    }
}

fn length(name: &str, count: u64) -> Result<u32, String> {
    if count == 0 {
        return Err(format!(
            "its {name} is 0: the request had failed when the trace was recorded"
        ));
    }
    u32::try_from(count)
        .ok()
        .filter(|_| count <= MOST_TOKENS)
        .ok_or_else(|| format!("its {name} is more than {MOST_TOKENS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AZURE: &[u8] = b"TIMESTAMP,ContextTokens,GeneratedTokens";
    const BURST: &[u8] = b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type";

    fn row(at_ns: i64, input: u32, output: u32, hashes: &[u64]) -> TraceRow {
        TraceRow {
            at_ns,
            input,
            output,
            hashes: hashes.to_vec(),
        }
    }

    #[test]
    fn each_format_is_known_by_its_first_line_and_read() {
        let mooncake =
            br#"{"timestamp": 27482, "input_length": 600, "output_length": 52, "hash_ids": [46, 47]}"#;
        let format = TraceFormat::of_first_line(mooncake).unwrap();
        assert_eq!((format.name(), format.has_header()), ("mooncake", false));
        assert_eq!(format.read(mooncake), Ok(row(27_482_000_000, 600, 52, &[46, 47])));
        let azure = TraceFormat::of_first_line(AZURE).unwrap();
        assert_eq!((azure.name(), azure.has_header()), ("azure", true));
        let read = azure.read(b"2023-11-16 18:17:03.9799600,4808,10\r").unwrap();
        assert_eq!(read, row(1_700_158_623_979_960_000, 4808, 10, &[]));
        let burst = TraceFormat::of_first_line(BURST).unwrap();
        assert_eq!(burst.name(), "burstgpt");
        let read = burst
            .read(b"5,\"ChatGPT, 3.5\",472,18,490,Conversation log")
            .unwrap();
        assert_eq!(read, row(5_000_000_000, 472, 18, &[]));
        // A later release has columns in between.
        let later =
            b"Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type";
        let later = TraceFormat::of_first_line(later).unwrap();
        assert_eq!(
            later.read(b"1.5,,0.1,GPT-4,3,4,7,API log"),
            Ok(row(1_500_000_000, 3, 4, &[]))
        );
    }

    #[test]
    fn a_broken_line_has_its_reason() {
        assert!(TraceFormat::of_first_line(b"a,b,c").is_err());
        assert!(TraceFormat::of_first_line(b"").is_err());
        assert!(TraceFormat::of_first_line(b"\xff\xfe").is_err());
        let reason = |first: &[u8], line: &str| {
            let format = TraceFormat::of_first_line(first).unwrap();
            format.read(line.as_bytes()).unwrap_err()
        };
        for (first, line, expected) in [
            (AZURE, "x,1,1", "its time cannot be read"),
            (
                AZURE,
                "2023-11-16 18:17:03,1",
                "it has 2 columns, fewer than the first line",
            ),
            (
                AZURE,
                "2023-11-16 18:17:03,x,1",
                "its prompt's length is not a number",
            ),
            (
                AZURE,
                "2023-11-16 18:17:03,99999999,1",
                "its prompt's length is more than 1048576",
            ),
            (
                BURST,
                "5,ChatGPT,472,0,472,Conversation log",
                "its answer's length is 0: the request had failed when the trace was recorded",
            ),
            (
                BURST,
                "-5,ChatGPT,472,1,472,Conversation log",
                "its time cannot be read",
            ),
            (b"{", "{", "it is not JSON at its byte 1"),
            (
                b"{",
                r#"{"timestamp": 1, "input_length": 1}"#,
                "`timestamp`, `input_length`, `output_length` must be numbers, `hash_ids` a list of them",
            ),
            (
                b"{",
                r#"{"timestamp": 1, "input_length": 513, "output_length": 1, "hash_ids": [1]}"#,
                "1 hash_ids are too few for 513 tokens in blocks of 512",
            ),
        ] {
            assert_eq!(reason(first, line), expected, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_or_refused(first in "\\PC{0,60}", line in "[\\PC\\r\\n]{0,80}") {
            for first in [first.as_bytes(), AZURE, BURST, b"{"] {
                if let Ok(format) = TraceFormat::of_first_line(first) {
                    let _ = format.read(line.as_bytes());
                }
            }
        }

        #[test]
        fn a_row_comes_back_as_it_was(at in 0_u32..1_000_000, input in 1_u32..1_000_000, output in 1_u32..1_000_000) {
            let burst = TraceFormat::of_first_line(BURST).unwrap();
            let line = format!("{at},GPT-4,{input},{output},{},API log", u64::from(input) + u64::from(output));
            proptest::prop_assert_eq!(
                burst.read(line.as_bytes()),
                Ok(row(i64::from(at) * 1_000_000_000, input, output, &[]))
            );
        }
    }
}
