//! A request that is passed on to a server of this host, and its answer as a stream.

use hyper::body::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use crate::effects::http::client::{Body, Broken, Http};
use crate::error::{At, Error, Kind};

/// A request to pass on.
pub(in crate::effects) struct Passed<'a> {
    /// Its method.
    pub(in crate::effects) method: &'a str,
    /// `http://127.0.0.1:PORT` of the server.
    pub(in crate::effects) origin: &'a str,
    /// The path, which was checked, and the query.
    pub(in crate::effects) path: &'a str,
    /// The query, without its question mark.
    pub(in crate::effects) query: Option<&'a str>,
    /// Its headers, by their names in small letters.
    pub(in crate::effects) headers: Vec<(String, Vec<u8>)>,
    /// Its body.
    pub(in crate::effects) body: Bytes,
}

/// The answer to it.
pub(in crate::effects) struct Forwarded {
    /// Status code.
    pub(in crate::effects) status: u16,
    /// Headers, by their names in small letters.
    pub(in crate::effects) headers: Vec<(String, Vec<u8>)>,
    /// The body, which is passed on as it arrives.
    pub(in crate::effects) body: Body,
}

impl Http {
    /// Passes a request on. Dropping the body of the answer closes the connection, so that the server ends its work.
    ///
    /// # Errors
    /// [`Broken`] when no head of an answer came.
    pub(in crate::effects) async fn forward(
        &self,
        request: Passed<'_>,
    ) -> std::result::Result<Forwarded, Broken> {
        let failed = || format!("cannot pass a request on to `{}`", request.origin);
        let mut url = Url::parse(request.origin).at(Kind::Internal, failed)?;
        url.set_path(request.path);
        url.set_query(request.query);
        // A path that means another one to the parser was not the one that was checked.
        if url.path() != request.path {
            return Err(Error::new(Kind::Usage, failed())
                .cause("its path has another spelling")
                .into());
        }
        let method = Method::from_bytes(request.method.as_bytes()).at(Kind::Usage, failed)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).at(Kind::Usage, failed)?;
            headers.append(name, HeaderValue::from_bytes(value).at(Kind::Usage, failed)?);
        }
        let sent = self.forwarding_client()?.request(method, url);
        let answer = sent.headers(headers).body(request.body).send().await;
        let answer = answer.map_err(|error| Broken::of(request.origin, &error))?;
        let headers = answer.headers().iter();
        Ok(Forwarded {
            status: answer.status().as_u16(),
            headers: headers
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: Body::of(answer, request.origin),
        })
    }
}
