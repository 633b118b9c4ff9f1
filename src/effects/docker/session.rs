//! A `BuildKit` session: the daemon calls dsr1 back over a connection that dsr1 opened.
//!
//! `POST /session` is upgraded to HTTP/2 (`h2c`); dsr1 serves gRPC on it: health, secrets, registry credentials and the
//! build context. bollard 0.21.1 cannot have secrets, the host network and progress in one build; this session can.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use bollard_buildkit_proto::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard_buildkit_proto::moby::filesync::v1::file_sync_server::{FileSync, FileSyncServer};
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use futures_util::{Stream, stream};
use hyper::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::BufWriter;
use tokio::sync::mpsc::{self, Receiver};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::effects::docker::context::BuildContext;
use crate::effects::docker::credentials::Credentials;
use crate::effects::docker::dial::Dial;
use crate::effects::docker::transport::{self, Answer, Task};
use crate::error::{At, Kind};

/// Methods that the daemon may call.
const METHODS: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.FileSync/DiffCopy",
];

/// Packets in flight: 2 MB of a file.
const IN_FLIGHT: usize = 16;
/// Bytes that are written at once, so that the daemon does not wake for each frame.
const WRITE_BUFFER: usize = 256 * 1024;

/// Everything that the daemon may request during a build.
pub(super) struct Served {
    pub(super) context: BuildContext,
    /// Secrets by their id.
    pub(super) secrets: BTreeMap<String, Vec<u8>>,
    pub(super) credentials: Credentials,
}

/// An open session; it closes when it is dropped.
pub(super) struct Session {
    _serving: Task,
    _connection: Task,
}

impl Session {
    /// Returns true if the daemon has sessions, without opening one: the daemon would keep it for a while.
    pub(super) async fn is_offered(dial: &Dial) -> bool {
        let answer = transport::post(dial, "/session", &[], transport::empty()).await;
        // A daemon with sessions rejects the request because it asks for no upgrade.
        answer.is_ok_and(|answer| answer.response.status() == StatusCode::BAD_REQUEST)
    }

    /// Requests a session, which owns the connection from then on.
    async fn request(dial: &Dial, id: &str, key: &str) -> crate::error::Result<Option<Answer>> {
        let mut headers = vec![
            ("connection", "Upgrade"),
            ("upgrade", "h2c"),
            ("x-docker-expose-session-uuid", id),
            ("x-docker-expose-session-name", "dsr1"),
            ("x-docker-expose-session-sharedkey", key),
        ];
        headers.extend(METHODS.map(|method| ("x-docker-expose-session-grpc-method", method)));
        let answer = transport::post(dial, "/session", &headers, transport::empty()).await?;
        let offered = answer.response.status() == StatusCode::SWITCHING_PROTOCOLS;
        Ok(Some(answer).filter(|_| offered))
    }

    /// Opens session `id`. `None` if the daemon has no sessions (Podman, and Docker with `BuildKit` off). The daemon keeps
    /// the last context with this `key`, so that only changed files are sent.
    pub(super) async fn open(
        dial: &Dial,
        id: &str,
        key: &str,
        served: Served,
    ) -> crate::error::Result<Option<Self>> {
        let Some(answer) = Self::request(dial, id, key).await? else {
            return Ok(None);
        };
        let io = hyper::upgrade::on(answer.response).await.at(Kind::Docker, || {
            "the daemon did not open a build session".to_owned()
        })?;
        let services = Services(served.context, served.secrets, served.credentials);
        let shared = Arc::new(services);
        let routes = Routes::new(HealthServer::from_arc(Arc::clone(&shared)))
            .add_service(SecretsServer::from_arc(Arc::clone(&shared)))
            .add_service(AuthServer::from_arc(Arc::clone(&shared)))
            .add_service(FileSyncServer::from_arc(shared))
            .prepare();
        let serving = Task::spawn(async move {
            // The daemon ends the stream when it needs nothing more.
            let io = TokioIo::new(BufWriter::with_capacity(WRITE_BUFFER, TokioIo::new(io)));
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, TowerToHyperService::new(routes))
                .await;
        });
        Ok(Some(Self {
            _serving: serving,
            _connection: answer.connection,
        }))
    }
}

struct Services(BuildContext, BTreeMap<String, Vec<u8>>, Credentials);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl Health for Services {
    type WatchStream = Answers<HealthCheckResponse>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("not offered"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not offered"))
    }
}

#[async_trait]
impl Secrets for Services {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = &request.get_ref().id;
        match self.1.get(id) {
            Some(data) => Ok(Response::new(GetSecretResponse { data: data.clone() })),
            None => Err(Status::not_found(format!("secret {id} was not given"))),
        }
    }
}

#[async_trait]
impl Auth for Services {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let login = self.2.login_of(&request.get_ref().host).await.unwrap_or_default();
        Ok(Response::new(CredentialsResponse {
            username: login.username,
            secret: login.secret.expose().to_owned(),
        }))
    }

    // The daemon requests tokens from the registry itself if dsr1 does not.
    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("not offered"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("not offered"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("not offered"))
    }
}

#[async_trait]
impl FileSync for Services {
    type DiffCopyStream = Answers<Packet>;
    type TarStreamStream = Answers<Packet>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let (to, from) = mpsc::channel(IN_FLIGHT);
        // The paths that the daemon needs: the Dockerfile alone at first, then the files that its steps read.
        let wanted: Vec<&str> = ["include-patterns", "followpaths"]
            .iter()
            .flat_map(|key| request.metadata().get_all(*key))
            .filter_map(|value| value.to_str().ok())
            .collect();
        let context = Arc::new(self.0.restricted_to(&wanted));
        tokio::spawn(context.send(request.into_inner(), to));
        Ok(Response::new(received(from)))
    }

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("not offered"))
    }
}

fn received<T: Send + 'static>(from: Receiver<Result<T, Status>>) -> Answers<T> {
    Box::pin(stream::unfold(from, |mut from| async move {
        from.recv().await.map(|item| (item, from))
    }))
}
