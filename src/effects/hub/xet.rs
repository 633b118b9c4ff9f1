//! A hub's Xet store: streams of a file's bytes by the Xet hash that the listing states. No other
//! module uses hf-xet.
//!
//! hf-xet, the transport below hf-hub, is used directly. hf-hub 1.0.0 reads a file's Xet hash from a HEAD
//! request whose redirect it follows, but the hub states the hash on the redirect itself; and it requests a
//! token for each stream. All bytes are hashed here, because hf-xet 1.8.0 does not check them: a wrong byte in
//! the store reaches the caller.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use hyper::body::Bytes;
use tokio::sync::{OnceCell, mpsc};
use xet::xet_session::{
    HeaderMap, HeaderValue, XetDownloadStreamGroup, XetFileInfo, XetSession, XetSessionBuilder, header,
};

use crate::effects::http::{Broken, Http};
use crate::secret::Secret;

/// Number of frames buffered between Xet's runtime and a worker.
const BUFFERED_FRAMES: usize = 4;
/// Number of files that may fail before the store is not used any more.
const MAX_FAILURES: u32 = 3;

/// One commit of a repository on a hub, with the client and the token for requests.
#[derive(Clone)]
pub(in crate::effects) struct Origin {
    pub(in crate::effects) http: Http,
    pub(in crate::effects) token: Option<Secret>,
    pub(in crate::effects) endpoint: String,
    pub(in crate::effects) repo: String,
    pub(in crate::effects) commit: String,
}

/// A hub's Xet store. It needs a runtime with several threads; the runtimes of workers have one.
pub(in crate::effects) struct Xet {
    runtime: tokio::runtime::Handle,
    /// Directory for the transport's own files.
    dir: PathBuf,
    may_switch: bool,
    failed: AtomicU32,
    opened: OnceCell<Opened>,
}

struct Opened {
    group: XetDownloadStreamGroup,
    /// Must live as long as its streams.
    _session: XetSession,
}

impl Xet {
    /// Creates a store; the hub is asked for its token when the first file is opened.
    pub(in crate::effects) fn new(runtime: tokio::runtime::Handle, dir: PathBuf, may_switch: bool) -> Self {
        Self {
            runtime,
            dir,
            may_switch,
            failed: AtomicU32::new(0),
            opened: OnceCell::new(),
        }
    }

    /// Returns whether a file that fails may be fetched over HTTP.
    pub(in crate::effects) fn may_switch(&self) -> bool {
        self.may_switch
    }

    /// Counts a file that failed.
    pub(in crate::effects) fn note_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether so many files failed that the store is not used any more.
    pub(in crate::effects) fn is_given_up(&self) -> bool {
        self.may_switch && self.failed.load(Ordering::Relaxed) >= MAX_FAILURES
    }

    /// Opens a range of the file with this hash.
    pub(in crate::effects) async fn open(
        &self,
        origin: &Origin,
        hash: &str,
        size: u64,
        (from, to): (u64, u64),
    ) -> Result<mpsc::Receiver<Result<Bytes, String>>, String> {
        let opened = self.opened.get_or_try_init(|| self.connect(origin)).await?;
        let (group, info) = (opened.group.clone(), XetFileInfo::new(hash.to_owned(), size));
        let range = (from > 0 || to < size).then_some(from..to);
        let (sender, frames) = mpsc::channel(BUFFERED_FRAMES);
        let stream = self
            .runtime
            .spawn(async move { group.download_stream(info, range).await });
        let stream = stream
            .await
            .map_err(|_| "the runtime of the Xet client ended".to_owned())?;
        let mut stream = stream.map_err(|error| error.to_string())?;
        self.runtime.spawn(async move {
            loop {
                let frame = tokio::select! {
                    frame = stream.next() => frame,
                    // The receiver is gone.
                    () = sender.closed() => {
                        stream.cancel();
                        return;
                    }
                };
                let frame = match frame {
                    Ok(Some(bytes)) => Ok(bytes),
                    Ok(None) => return,
                    Err(error) => Err(error.to_string()),
                };
                if sender.send(frame).await.is_err() {
                    return;
                }
            }
        });
        Ok(frames)
    }

    /// Requests a token for the store from the hub.
    async fn connect(&self, origin: &Origin) -> Result<Opened, String> {
        let Origin {
            endpoint,
            repo,
            commit,
            ..
        } = origin;
        let url = format!("{endpoint}/api/models/{repo}/xet-read-token/{commit}");
        let answer = origin.http.get_from_hub(&url, origin.token.as_ref()).await;
        let answer = answer.map_err(|error| Broken::into_error(error).causes().join(": "))?;
        if answer.status != 200 {
            return Err(format!(
                "the hub refused a token for the Xet store (status {})",
                answer.status
            ));
        }
        let token = answer.json();
        let text = |key: &str| token[key].as_str().filter(|text| !text.is_empty());
        let (Some(store), Some(access), Some(expires)) =
            (text("casUrl"), text("accessToken"), token["exp"].as_u64())
        else {
            return Err("the hub's token for the Xet store is invalid".to_owned());
        };
        if !store.starts_with("https://") && !store.starts_with("http://") {
            return Err("the hub's URL of the Xet store is invalid".to_owned());
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = &origin.token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|_| "the token is not a valid header value".to_owned())?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let session = XetSessionBuilder::new()
            .with_cache_dir(&self.dir)
            .with_tokio_handle(self.runtime.clone())
            .build()
            .map_err(|error| error.to_string())?;
        let builder = session
            .new_download_stream_group()
            .map_err(|error| error.to_string())?;
        let group = builder
            .with_endpoint(store)
            .with_token_info(access, expires)
            .with_token_refresh_url(url, headers)
            .build();
        let group = self
            .runtime
            .spawn(group)
            .await
            .map_err(|_| "the runtime of the Xet client ended".to_owned())?;
        Ok(Opened {
            group: group.map_err(|error| error.to_string())?,
            _session: session,
        })
    }
}
