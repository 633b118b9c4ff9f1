//! A hub on loopback, with a content network on another address, and with faults on request.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// A fault of a response.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The connection is reset after this number of bytes of the body.
    Reset(usize),
    /// The connection is closed after this number of bytes, fewer than announced.
    Truncate(usize),
    /// The body has only this number of bytes, and the announced length matches it.
    Short(usize),
    /// A bit of the byte at this offset is flipped.
    Flip(usize),
    /// The response has another status, with headers and a page.
    Status(u16, &'static str, &'static str),
    /// The body starts only after this number of seconds.
    Stall(u64),
    /// The requested range is ignored, and the body is sent at this number of bytes per second.
    IgnoreRange(usize),
    /// The response states another range than the one that is sent.
    OtherRange,
    /// The response claims that the body is compressed.
    Packed,
    /// The response has no length, and the connection is closed after this number of bytes, which ends such a body.
    EndEarly(usize),
    /// Each response has another entity tag.
    NewEtag,
    /// The body is sent at this number of bytes per second.
    Slow(usize),
    /// One fault for requests from the first byte, as the first worker of a file sends them, and one for later ranges.
    Split(Box<Fault>, Box<Fault>),
}

/// One request that the hub received.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Number of earlier requests.
    pub number: usize,
    pub on_cdn: bool,
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub authorized: bool,
    pub sent: usize,
}

/// A repository file.
#[derive(Clone)]
pub struct RepoFile {
    pub bytes: Vec<u8>,
    pub large: bool,
}

struct Shared {
    cdn: String,
    repo: String,
    commit: String,
    files: BTreeMap<String, RepoFile>,
    /// Listing entries, computed once: hashing a large file for each request would take longer than sending it.
    entries: BTreeMap<String, Value>,
    listing: Mutex<Option<Value>>,
    faults: Mutex<Vec<(String, Fault, usize)>>,
    arrived: AtomicUsize,
    asked: Mutex<Vec<Asked>>,
    token: Mutex<Option<String>>,
    license: Mutex<Option<String>>,
    /// Number of zero bytes behind the bytes of a file, for models of many gigabytes.
    zeros: Mutex<BTreeMap<String, usize>>,
    /// Time before each answer.
    delay: Mutex<Duration>,
    /// URL of the Xet store of large files, and their hashes in it.
    xet: Mutex<Option<(String, BTreeMap<String, String>)>>,
}

/// The hub for tests.
#[derive(Clone)]
pub struct Hub {
    pub endpoint: String,
    shared: Arc<Shared>,
}

impl Hub {
    /// Serves `files` as `repo`. As with real hubs, `large` files are served by the content network.
    pub fn new(repo: &str, files: BTreeMap<String, RepoFile>) -> Self {
        let hub = TcpListener::bind("127.0.0.1:0").unwrap();
        let cdn = TcpListener::bind("127.0.0.2:0").unwrap();
        let shared = Arc::new(Shared {
            cdn: format!("http://{}", cdn.local_addr().unwrap()),
            repo: repo.to_owned(),
            commit: "c0ffee".repeat(7)[..40].to_owned(),
            entries: files
                .iter()
                .map(|(path, file)| (path.clone(), entry(path, file)))
                .collect(),
            files,
            listing: Mutex::default(),
            faults: Mutex::default(),
            arrived: AtomicUsize::default(),
            asked: Mutex::default(),
            token: Mutex::default(),
            license: Mutex::default(),
            zeros: Mutex::default(),
            delay: Mutex::default(),
            xet: Mutex::default(),
        });
        let endpoint = format!("http://{}", hub.local_addr().unwrap());
        for (listener, on_cdn) in [(hub, false), (cdn, true)] {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || {
                        let _ = serve(&shared, &stream, on_cdn);
                    });
                }
            });
        }
        Self { endpoint, shared }
    }

    /// Applies a fault to the next `times` responses to requests whose path contains `path`.
    pub fn fault(&self, path: &str, fault: Fault, times: usize) {
        self.shared
            .faults
            .lock()
            .unwrap()
            .push((path.to_owned(), fault, times));
    }

    /// Removes the remaining faults.
    pub fn clear(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Serves this listing instead of the true one.
    pub fn listing(&self, listing: Value) {
        *self.shared.listing.lock().unwrap() = Some(listing);
    }

    /// Answers 401 to requests without this token.
    pub fn require_token(&self, token: &str) {
        *self.shared.token.lock().unwrap() = Some(token.to_owned());
    }

    /// Offers large files in a Xet store too. `hashes` holds the hash of each path there.
    pub fn xet(&self, store: &str, hashes: BTreeMap<String, String>) {
        *self.shared.xet.lock().unwrap() = Some((store.to_owned(), hashes));
    }

    /// Sets the licence that the hub states.
    pub fn license(&self, license: &str) {
        *self.shared.license.lock().unwrap() = Some(license.to_owned());
    }

    /// Lets a file go on with zeros.
    pub fn zeros(&self, path: &str, count: usize) {
        self.shared.zeros.lock().unwrap().insert(path.to_owned(), count);
    }

    /// Lets each answer wait.
    pub fn delay(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub fn repo(&self) -> &str {
        &self.shared.repo
    }

    pub fn commit(&self) -> &str {
        &self.shared.commit
    }

    /// Returns the number of requests so far.
    pub fn arrived(&self) -> usize {
        self.shared.arrived.load(Ordering::Relaxed)
    }

    /// Returns the sent bytes of file bodies.
    pub fn bytes_sent(&self) -> usize {
        self.bytes_sent_since(0)
    }

    /// Returns the sent bytes of file bodies without the first `number` requests, because the hub may still send bytes
    /// to a client that was killed.
    pub fn bytes_sent_since(&self, number: usize) -> usize {
        self.asked()
            .iter()
            .filter(|asked| asked.number >= number)
            .filter(|asked| asked.method == "GET" && asked.path.contains("resolve") || asked.on_cdn)
            .map(|asked| asked.sent)
            .sum()
    }
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(':') {
            Some((key, value)) => headers.insert(key.to_lowercase(), value.trim().to_owned()),
            None => {
                return Some(Request {
                    method,
                    path,
                    headers,
                });
            }
        };
    }
}

fn serve(shared: &Shared, stream: &TcpStream, on_cdn: bool) -> Option<()> {
    let request = read_request(stream)?;
    let number = shared.arrived.fetch_add(1, Ordering::Relaxed);
    let fault = take_fault(shared, &request);
    let mut asked = Asked {
        number,
        on_cdn,
        method: request.method.clone(),
        path: request.path.clone(),
        range: request.headers.get("range").cloned(),
        authorized: request.headers.contains_key("authorization"),
        sent: 0,
    };
    let delay = *shared.delay.lock().unwrap();
    std::thread::sleep(delay);
    let sent = answer(shared, stream, on_cdn, &request, fault);
    asked.sent = sent.unwrap_or(0);
    shared.asked.lock().unwrap().push(asked);
    Some(())
}

fn take_fault(shared: &Shared, request: &Request) -> Option<Fault> {
    // A HEAD request only locates the bytes; faults concern the bytes.
    if request.method == "HEAD" {
        return None;
    }
    let mut faults = shared.faults.lock().unwrap();
    let fault = faults
        .iter_mut()
        .find(|(path, _, times)| *times > 0 && request.path.contains(path.as_str()))?;
    fault.2 -= 1;
    Some(fault.1.clone())
}

fn answer(
    shared: &Shared,
    stream: &TcpStream,
    on_cdn: bool,
    request: &Request,
    fault: Option<Fault>,
) -> Option<usize> {
    let fault = match fault {
        Some(Fault::Split(first, later)) => {
            let range = request.headers.get("range");
            let is_later = range.is_some_and(|range| !range.starts_with("bytes=0-"));
            Some(if is_later { *later } else { *first })
        }
        fault => fault,
    };
    if let Some(Fault::Status(code, head, page)) = fault {
        return send(stream, code, head, page.as_bytes(), request, None);
    }
    let path = request.path.split('?').next()?.to_owned();
    if on_cdn {
        let name = path.trim_start_matches("/blob/");
        return send_file(
            stream,
            &shared.files.get(name)?.bytes,
            zeros_of(shared, name),
            "",
            request,
            fault,
        );
    }
    if let Some(token) = shared.token.lock().unwrap().as_ref()
        && request.headers.get("authorization") != Some(&format!("Bearer {token}"))
    {
        return send(stream, 401, "X-Error-Code: GatedRepo\r\n", b"", request, None);
    }
    let api = format!("/api/models/{}", shared.repo);
    let resolve = format!("/{}/resolve/", shared.repo);
    if path.starts_with(&format!("{api}/revision/")) {
        if path.ends_with("/nope") {
            return send(
                stream,
                404,
                "X-Error-Code: RevisionNotFound\r\n",
                b"",
                request,
                None,
            );
        }
        // Every commit is valid: a request for a commit id is answered with that id.
        let asked = path.rsplit('/').next()?;
        let is_commit = asked.len() == 40 && asked.chars().all(|c| c.is_ascii_hexdigit());
        let sha = if is_commit { asked } else { &shared.commit };
        let card = json!({ "license": *shared.license.lock().unwrap() });
        let body = json!({ "id": shared.repo, "sha": sha, "siblings": [], "cardData": card });
        let body = body.to_string();
        return send(stream, 200, "", body.as_bytes(), request, fault);
    }
    if path.starts_with(&format!("{api}/xet-read-token/")) {
        let Some((store, _)) = shared.xet.lock().unwrap().clone() else {
            return send(stream, 404, "", b"", request, None);
        };
        let token = json!({ "accessToken": "xet-token", "exp": 9_999_999_999_u64, "casUrl": store });
        return send(stream, 200, "", token.to_string().as_bytes(), request, fault);
    }
    if path.starts_with(&format!("{api}/tree/")) {
        return send_listing(shared, stream, request, fault);
    }
    if let Some((_, name)) = path.strip_prefix(&resolve).and_then(|rest| rest.split_once('/')) {
        let Some(file) = shared.files.get(name) else {
            return send(stream, 404, "X-Error-Code: EntryNotFound\r\n", b"", request, None);
        };
        if file.large {
            let head = format!(
                "Location: {}/blob/{name}?sig=secret\r\nX-Repo-Commit: {}\r\nX-Linked-Size: {}\r\nX-Linked-Etag: \"{}\"\r\n",
                shared.cdn,
                shared.commit,
                file.bytes.len() + zeros_of(shared, name),
                oid(&shared.entries[name])
            );
            return send(stream, 302, &head, b"", request, None);
        }
        let head = format!(
            "ETag: \"{}\"\r\nX-Repo-Commit: {}\r\n",
            oid(&shared.entries[name]),
            shared.commit
        );
        return send_file(stream, &file.bytes, zeros_of(shared, name), &head, request, fault);
    }
    send(stream, 404, "X-Error-Code: RepoNotFound\r\n", b"", request, None)
}

/// Sends the listing, with three entries per page.
fn send_listing(
    shared: &Shared,
    stream: &TcpStream,
    request: &Request,
    fault: Option<Fault>,
) -> Option<usize> {
    // A hub that is far away has long pages, as real ones do.
    let is_slow = !shared.delay.lock().unwrap().is_zero();
    let page = if is_slow { 1000 } else { 3 };
    if let Some(listing) = shared.listing.lock().unwrap().as_ref() {
        return send(stream, 200, "", listing.to_string().as_bytes(), request, fault);
    }
    let from: usize = request
        .path
        .split_once("cursor=")
        .map_or(0, |(_, cursor)| cursor.parse().unwrap());
    let items: Vec<Value> = shared
        .entries
        .values()
        .skip(from)
        .take(page)
        .map(|entry| {
            let mut entry = entry.clone();
            let zeros = zeros_of(shared, entry["path"].as_str().unwrap());
            if zeros > 0 {
                let size = entry["size"].as_u64().unwrap() + zeros as u64;
                entry["size"] = json!(size);
                entry["lfs"]["size"] = json!(size);
            }
            if let Some((_, hashes)) = shared.xet.lock().unwrap().as_ref()
                && let Some(hash) = hashes.get(entry["path"].as_str().unwrap())
            {
                entry["xetHash"] = json!(hash);
            }
            entry
        })
        .collect();
    let head = if from + page < shared.files.len() {
        let host = &request.headers["host"];
        format!(
            "Link: <http://{host}/api/models/{}/tree/{}?recursive=true&cursor={}>; rel=\"next\"\r\n",
            shared.repo,
            shared.commit,
            from + page
        )
    } else {
        String::new()
    };
    send(
        stream,
        200,
        &head,
        Value::from(items).to_string().as_bytes(),
        request,
        fault,
    )
}

/// Returns a listing entry as hubs write it.
pub fn entry(path: &str, file: &RepoFile) -> Value {
    let mut entry =
        json!({ "type": "file", "path": path, "size": file.bytes.len(), "oid": git_sha1(&file.bytes) });
    if file.large {
        use sha2::Digest;
        let oid = hex(&sha2::Sha256::digest(&file.bytes));
        entry["lfs"] = json!({ "oid": oid, "size": file.bytes.len(), "pointerSize": 130 });
    }
    entry
}

/// Returns the hash of a listing entry.
fn oid(entry: &Value) -> &str {
    entry["lfs"]["oid"].as_str().or(entry["oid"].as_str()).unwrap()
}

fn git_sha1(bytes: &[u8]) -> String {
    use sha1::Digest;
    let mut hash = sha1::Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    dsr1::units::hex(bytes)
}

fn zeros_of(shared: &Shared, name: &str) -> usize {
    shared.zeros.lock().unwrap().get(name).copied().unwrap_or(0)
}

fn send_file(
    stream: &TcpStream,
    bytes: &[u8],
    zeros: usize,
    head: &str,
    request: &Request,
    fault: Option<Fault>,
) -> Option<usize> {
    let range = request
        .headers
        .get("range")
        .filter(|_| !matches!(fault, Some(Fault::IgnoreRange(_))));
    let Some(range) = range else {
        return send(stream, 200, head, bytes, request, fault);
    };
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let from: usize = from.parse().ok()?;
    let to: usize = if to.is_empty() {
        bytes.len() + zeros - 1
    } else {
        to.parse().ok()?
    };
    let said = if matches!(fault, Some(Fault::OtherRange)) {
        from + 1
    } else {
        from
    };
    let head = format!(
        "{head}Content-Range: bytes {said}-{to}/{}\r\n",
        bytes.len() + zeros
    );
    let there = &bytes[from.min(bytes.len())..(to + 1).min(bytes.len())];
    let body = [there, &vec![0; to + 1 - from - there.len()]].concat();
    send(stream, 206, &head, &body, request, fault)
}

fn send(
    mut stream: &TcpStream,
    code: u16,
    head: &str,
    body: &[u8],
    request: &Request,
    fault: Option<Fault>,
) -> Option<usize> {
    let mut body = body.to_vec();
    let mut announced = body.len();
    let mut sent = body.len();
    match &fault {
        Some(Fault::Reset(at) | Fault::Truncate(at) | Fault::EndEarly(at)) => sent = (*at).min(sent),
        Some(Fault::Short(at)) => {
            sent = (*at).min(sent);
            announced = sent;
        }
        Some(Fault::Flip(at)) if *at < body.len() => body[*at] ^= 1,
        _ => {}
    }
    let more = match &fault {
        Some(Fault::EndEarly(_)) => String::new(),
        Some(Fault::Packed) => format!("Content-Length: {announced}\r\nContent-Encoding: gzip\r\n"),
        Some(Fault::NewEtag) => {
            static NUMBER: AtomicUsize = AtomicUsize::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            sent = sent.min(400_000);
            format!("Content-Length: {announced}\r\nETag: \"{number}\"\r\n")
        }
        _ => format!("Content-Length: {announced}\r\n"),
    };
    write!(
        stream,
        "HTTP/1.1 {code} X\r\n{more}Connection: close\r\n{head}\r\n"
    )
    .ok()?;
    if request.method == "HEAD" {
        return Some(0);
    }
    if let Some(Fault::Stall(seconds)) = fault {
        stream.flush().ok()?;
        std::thread::sleep(Duration::from_secs(seconds));
    }
    // In small pieces, so that an interruption happens during the transfer.
    let mut went = 0;
    // A slow stream is slow at every moment, and a kill in the middle of a file finds many places.
    let piece = match fault {
        Some(Fault::Slow(rate) | Fault::IgnoreRange(rate)) => (rate / 500).clamp(512, 64 * 1024),
        _ => 64 * 1024,
    };
    for chunk in body[..sent].chunks(piece) {
        if stream.write_all(chunk).and_then(|()| stream.flush()).is_err() {
            return Some(went);
        }
        went += chunk.len();
        if let Some(Fault::Slow(rate) | Fault::IgnoreRange(rate)) = fault {
            std::thread::sleep(Duration::from_micros(
                chunk.len() as u64 * 1_000_000 / rate as u64,
            ));
        }
    }
    if let Some(Fault::Reset(_)) = fault {
        // The sent bytes must arrive before the reset, which discards bytes in flight.
        std::thread::sleep(Duration::from_millis(100));
        rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).ok()?;
    }
    Some(sent)
}

/// Returns random bytes from a seed.
pub fn noise(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}

/// Returns a safetensors file of `count` bytes with one tensor.
pub fn safetensors(tensor: &str, seed: u32, count: usize) -> Vec<u8> {
    // The length of the header depends on the number in it; spaces pad it, as the format allows.
    let data = count - 8 - 128;
    let header = json!({ tensor: { "dtype": "U8", "shape": [data], "data_offsets": [0, data] } });
    let mut bytes = 128_u64.to_le_bytes().to_vec();
    bytes.extend(format!("{header:<128}", header = header.to_string()).bytes());
    bytes.extend(noise(seed, data));
    bytes
}

/// Returns a small model: two shards, an index, two text files and one in a directory.
pub fn small_model() -> BTreeMap<String, RepoFile> {
    let index =
        json!({ "metadata": {}, "weight_map": { "a": "model-1.safetensors", "b": "model-2.safetensors" } });
    let small = |bytes: Vec<u8>| RepoFile { bytes, large: false };
    BTreeMap::from([
        (
            "model-1.safetensors".to_owned(),
            RepoFile {
                bytes: safetensors("a", 1, 900_000),
                large: true,
            },
        ),
        (
            "model-2.safetensors".to_owned(),
            RepoFile {
                bytes: safetensors("b", 2, 300_000),
                large: true,
            },
        ),
        (
            "model.safetensors.index.json".to_owned(),
            small(index.to_string().into_bytes()),
        ),
        ("config.json".to_owned(), small(b"{}\n".to_vec())),
        ("empty.txt".to_owned(), small(Vec::new())),
        ("figures/notes.md".to_owned(), small(b"pass\n".to_vec())),
    ])
}
