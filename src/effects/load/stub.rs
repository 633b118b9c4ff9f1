//! A server that answers at once, of what is at hand: the most that this client can take on this host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::job::{Job, Watch};
use super::room::most_connections;
use super::run::run_load;
use super::target::Target;
use crate::effects::blocking::blocking;
use crate::error::{At, Kind, Result};
use crate::measure::{Api, Drawn, Extent, Load, Stage};

/// Time for which the client takes what it can.
const TRIAL: Duration = Duration::from_millis(750);
/// Longest wait for the first answers of the stub.
const BEGINNING: Duration = Duration::from_secs(5);
/// Most streams of a trial: beyond that, one more takes nothing from the others.
const STREAMS: u32 = 1024;

/// Returns the tokens a second that the client takes from the stub, with the load's API, lengths and streams; `None` if none came.
///
/// Both share the processors of this host, so a client on an idle host takes more.
///
/// # Errors
/// [`Kind::Host`] when the stub cannot listen.
pub async fn find_ceiling(
    job: &Job,
    requests: Box<dyn Iterator<Item = Drawn> + Send>,
) -> Result<Option<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .at(Kind::Host, || "cannot listen on 127.0.0.1".to_owned())?;
    let address = listener
        .local_addr()
        .at(Kind::Host, || "cannot listen on 127.0.0.1".to_owned())?;
    // Both ends of its connections are open here.
    let room = u32::try_from(most_connections() / 2).unwrap_or(u32::MAX);
    let streams = job.stage.load.most_in_flight().unwrap_or(STREAMS);
    let is_over = Arc::new(AtomicBool::new(false));
    let stub = tokio::spawn(accept_all(listener, job.settings.api, is_over.clone()));
    let trial = Job {
        target: Target::plain(address),
        stage: Stage {
            load: Load::Concurrency(streams.min(STREAMS).min(room).max(1)),
            extent: Extent {
                requests: u32::MAX,
                least_s: 0,
                most_s: None,
                stall_s: 60,
                warm_up: false,
                ramp_s: 0,
            },
        },
        ..job.clone()
    };
    let watch = Arc::new(Watch::default());
    let run = tokio::spawn({
        let watch = watch.clone();
        async move { blocking(move || run_load(&trial, requests, &watch)).await }
    });
    // The first answers take the opening of connections and the making of the first bodies.
    let tried = Instant::now();
    while watch.tokens.load(Ordering::Relaxed) == 0 && tried.elapsed() < BEGINNING {
        tokio::time::sleep(TRIAL / 8).await;
    }
    tokio::time::sleep(TRIAL / 3).await;
    let (begun, before) = (Instant::now(), watch.tokens.load(Ordering::Relaxed));
    tokio::time::sleep(TRIAL).await;
    let taken = watch.tokens.load(Ordering::Relaxed) - before;
    let seconds = begun.elapsed().as_secs_f64();
    watch.stop();
    is_over.store(true, Ordering::Relaxed);
    let _ = run.await;
    stub.abort();
    #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
    let rate = taken as f64 / seconds;
    Ok((taken > 0).then_some(rate))
}

async fn accept_all(listener: TcpListener, api: Api, is_over: Arc<AtomicBool>) {
    let mut streams = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let is_over = is_over.clone();
        streams.spawn(async move {
            // A client that leaves ends its stream.
            let _ = answer_all(stream, api, &is_over).await;
        });
    }
}

/// Answers the requests of one connection.
async fn answer_all(mut stream: TcpStream, api: Api, is_over: &AtomicBool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut held = Vec::new();
    while let Some(asked) = read_request(&mut stream, &mut held).await? {
        let begin =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(begin.as_bytes()).await?;
        for sent in 1..=asked {
            let chunk = framed(&event(api, sent, sent == asked));
            stream.write_all(chunk.as_bytes()).await?;
            // Each chunk is an arrival of its own, as those of a server are.
            tokio::task::yield_now().await;
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        let end = format!("{}0\r\n\r\n", framed("data: [DONE]\n\n"));
        stream.write_all(end.as_bytes()).await?;
    }
    Ok(())
}

fn framed(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Returns an event in the size of those of a server.
fn event(api: Api, tokens: u32, is_last: bool) -> String {
    let (reason, usage) = (
        if is_last { "\"length\"" } else { "null" },
        format!(
            r#""usage":{{"prompt_tokens":1,"total_tokens":{},"completion_tokens":{tokens}}}"#,
            tokens + 1
        ),
    );
    let head = r#""id":"0123456789abcdef0123456789abcdef","created":1700000000,"model":"stub""#;
    match api {
        Api::Generate => format!(
            r#"data: {{"text":" token","output_ids":[1],"meta_info":{{"id":"0123456789abcdef0123456789abcdef","finish_reason":{},"prompt_tokens":1,"completion_tokens":{tokens},"cached_tokens":0}}}}{}"#,
            if is_last { r#"{"type":"length"}"# } else { "null" },
            "\n\n"
        ),
        Api::Completions => format!(
            "data: {{{head},\"object\":\"text_completion\",\"choices\":[{{\"index\":0,\"text\":\" token\",\"logprobs\":null,\"finish_reason\":{reason}}}],{usage}}}\n\n"
        ),
        Api::Chat => format!(
            "data: {{{head},\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" token\"}},\"finish_reason\":{reason}}}],{usage}}}\n\n"
        ),
    }
}

/// Reads a request of our own client; returns the tokens that it asks for, `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream, held: &mut Vec<u8>) -> std::io::Result<Option<u32>> {
    loop {
        if let Some(end) = memchr::memmem::find(held, b"\r\n\r\n") {
            let headers = String::from_utf8_lossy(&held[..end]);
            let (_, length) = headers.rsplit_once("Content-Length: ").unwrap_or_default();
            let length: usize = length.trim().parse().unwrap_or(0);
            let total = end + 4 + length;
            while held.len() < total {
                if stream.read_buf(held).await? == 0 {
                    return Ok(None);
                }
            }
            let asked = asked_tokens(&held[end + 4..total]);
            held.drain(..total);
            return Ok(Some(asked));
        }
        if stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    }
}

/// Returns the tokens that the body of one of our requests asks for.
fn asked_tokens(body: &[u8]) -> u32 {
    ["\"max_new_tokens\":", "\"max_tokens\":"]
        .iter()
        .find_map(|key| {
            let at = memchr::memmem::rfind(body, key.as_bytes())? + key.len();
            let digits: Vec<u8> = body[at..]
                .iter()
                .copied()
                .take_while(u8::is_ascii_digit)
                .collect();
            std::str::from_utf8(&digits).ok()?.parse().ok()
        })
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{AnswerReader, Finish, Kept, Lengths, RandomPrompts, RequestSettings, Turns};

    #[test]
    fn its_events_are_those_of_the_api() {
        for api in [Api::Generate, Api::Completions, Api::Chat] {
            let mut reader = AnswerReader::new(api, Kept::Nothing);
            for (tokens, is_last) in [(1, false), (4, false), (5, true)] {
                reader.push(event(api, tokens, is_last).as_bytes(), tokens);
            }
            let read = reader.finish();
            assert_eq!(read.end, Ok(Finish::Length), "{api:?}");
            let growth: Vec<u16> = read.chunks.iter().map(|chunk| chunk.tokens).collect();
            assert_eq!(growth, [1, 3, 1], "{api:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_client_takes_its_tokens() {
        let lengths = Lengths {
            input: 16,
            output: 64,
            ratio: 1.0,
            shared_prefix: 0,
            turns: Turns::SINGLE,
        };
        let job = Job {
            target: Target::plain(([127, 0, 0, 1], 1).into()),
            settings: RequestSettings {
                api: Api::Completions,
                model: "stub".to_owned(),
                ignores_end: true,
                temperature: 0.0,
                top_p: None,
                stop: Vec::new(),
                keeps: Kept::Nothing,
            },
            stage: Stage {
                load: Load::Concurrency(8),
                extent: Extent {
                    requests: 1,
                    least_s: 0,
                    most_s: None,
                    stall_s: 10,
                    warm_up: true,
                    ramp_s: 0,
                },
            },
            limits: None,
            think_time: Duration::ZERO,
            seed: 1,
        };
        let requests = Box::new(RandomPrompts::new(lengths, 1000, 1, 8));
        let ceiling = find_ceiling(&job, requests).await.unwrap().unwrap();
        assert!(ceiling > 1000.0, "{ceiling}");
    }
}
