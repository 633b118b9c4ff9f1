//! Rules as they are typed: `reset:after=5@request=3`, `status:code=429,retry=2@share=0.1`, `no-usage`.

use std::str::FromStr;
use std::time::Duration;

use super::fault::{Fault, Rule, When};

/// The words with their numbers, and the requests, for the help.
pub const GRAMMAR: &str = "stall:after=K[,ms=N] reset|cut|quit|garbage|bad-byte|abort:after=K error:after=K[,named=1] \
status:code=N[,retry=S] no-usage no-tokens short:share=F slow:ttft=F,itl=F drift:factor=F,over-ms=N step:at-ms=N,factor=F \
cached:share=F early-role pieces:pieces=N misaligned split-character together:events=N long-line:after=K,bytes=N close, \
followed by nothing or @request=N @first=N @from=N @every=N @share=F @after-ms=N @before-ms=N";

struct Numbers<'a>(Vec<(&'a str, f64)>);

impl<'a> Numbers<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        let pair = |part: &'a str| {
            let (name, value) = part.split_once('=').ok_or(format!("no `=` in `{part}`"))?;
            let value = value.parse().map_err(|_| format!("no number in `{part}`"))?;
            Ok((name, value))
        };
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts.map(pair).collect::<Result<_, String>>().map(Self)
    }

    fn get(&mut self, name: &str) -> Option<f64> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }

    fn need(&mut self, name: &str) -> Result<f64, String> {
        self.get(name).ok_or(format!("`{name}=` is missing"))
    }

    fn time(&mut self, name: &str) -> Result<Duration, String> {
        self.need(name).map(|ms| Duration::from_secs_f64(ms / 1e3))
    }

    fn end(&self) -> Result<(), String> {
        self.0
            .first()
            .map_or(Ok(()), |(name, _)| Err(format!("`{name}` is unknown here")))
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (fault, when) = text.split_once('@').unwrap_or((text, ""));
        let (name, numbers) = fault.split_once(':').unwrap_or((fault, ""));
        let mut given = Numbers::of(numbers)?;
        let fault = fault_of(name, &mut given)?;
        given.end()?;
        let mut given = Numbers::of(when)?;
        let when = when_of(&mut given)?;
        given.end()?;
        Ok(Self { fault, when })
    }
}

fn fault_of(name: &str, given: &mut Numbers<'_>) -> Result<Fault, String> {
    let after = given.get("after").unwrap_or(0.0) as u32;
    Ok(match name {
        "stall" => Fault::Stall {
            after,
            time: given.get("ms").map(|ms| Duration::from_secs_f64(ms / 1e3)),
        },
        "reset" => Fault::Reset { after },
        "cut" => Fault::Cut { after },
        "quit" => Fault::Quit { after },
        "garbage" => Fault::Garbage { after },
        "bad-byte" => Fault::BadByte { after },
        "abort" => Fault::Abort { after },
        "error" => Fault::ErrorEvent {
            after,
            named: given.get("named").is_some_and(|named| named > 0.0),
        },
        "status" => Fault::Status {
            code: given.need("code")? as u16,
            retry_after: given.get("retry").map(|seconds| seconds as u32),
        },
        "no-usage" => Fault::NoUsage,
        "no-tokens" => Fault::NoTokens,
        "short" => Fault::Short {
            share: given.need("share")?,
        },
        "slow" => Fault::Slow {
            ttft: given.get("ttft").unwrap_or(1.0),
            itl: given.get("itl").unwrap_or(1.0),
        },
        "drift" => Fault::Drift {
            factor: given.need("factor")?,
            over: given.time("over-ms")?,
        },
        "step" => Fault::Step {
            at: given.time("at-ms")?,
            factor: given.need("factor")?,
        },
        "cached" => Fault::Cached {
            share: given.need("share")?,
        },
        "early-role" => Fault::EarlyRole,
        "pieces" => Fault::Pieces {
            pieces: given.need("pieces")? as u32,
        },
        "misaligned" => Fault::Misaligned,
        "split-character" => Fault::SplitCharacter,
        "together" => Fault::Together {
            events: given.need("events")? as u32,
        },
        "long-line" => Fault::LongLine {
            after,
            bytes: given.need("bytes")? as u32,
        },
        "close" => Fault::Close,
        other => return Err(format!("no fault `{other}`; there are: {GRAMMAR}")),
    })
}

/// A word with the requests that it names.
type Named<T> = (&'static str, fn(T) -> When);

fn when_of(given: &mut Numbers<'_>) -> Result<When, String> {
    if given.0.is_empty() {
        return Ok(When::Always);
    }
    let numbered: [Named<u64>; 4] = [
        ("request", When::Request),
        ("first", When::First),
        ("from", When::From),
        ("every", When::Every),
    ];
    for (name, when) in numbered {
        if let Some(number) = given.get(name) {
            return Ok(when(number as u64));
        }
    }
    if let Some(share) = given.get("share") {
        return Ok(When::Share(share));
    }
    let timed: [Named<Duration>; 2] = [("after-ms", When::After), ("before-ms", When::Before)];
    for (name, when) in timed {
        if given.0[0].0 == name {
            return given.time(name).map(when);
        }
    }
    Err(format!("no requests `{}`", given.0[0].0))
}
