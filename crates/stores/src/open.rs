//! Opening the folder of a store.

use std::{sync::Arc, time::Duration};

use opendal::{
    HttpTransporter, OperationContext, Operator,
    layers::{RetryEvent, RetryLayer},
    services::{Azblob, Gcs, Http, S3},
};

use crate::{
    Address, Environment, StoreError,
    address::Place,
    local::Folder,
    proxies::Proxies,
    remote::Remote,
    settings::{bad_connection_string, problem_of_server, require_account, require_base64, require_server},
    store::{Stopping, Store},
    transport::Transport,
};

/// How often a request is tried again before it fails.
const TRIES: usize = 7;

/// The pauses between the tries: the first and the longest. Each is longer by up to as much again, by chance, so that many processes
/// do not come back at once.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(16)];

/// How many redirections in a row are followed to a file on the web.
const REDIRECTIONS: u32 = 10;

/// The Hub, unless `HF_ENDPOINT` says otherwise.
const HUB: &str = "https://huggingface.co";

/// The region that stores of S3's kind take if they have none.
const ANY_REGION: &str = "us-east-1";

/// What is called before a request is tried again, with how long it waits.
pub type Retrying = Arc<dyn Fn(Duration) + Send + Sync>;

/// The folder of a store, open.
pub struct Opened {
    pub(crate) store: Box<dyn Store + Send>,
    /// How many requests may run at a time.
    pub(crate) parallel: usize,
}

impl Opened {
    /// Lets a pause before another try end at once when `is_stopped` says so, and the call that paused be stopped.
    #[must_use]
    pub fn stopped_by(mut self, is_stopped: Stopping) -> Self {
        self.store.end_pauses_by(is_stopped);
        self
    }
}

/// Opens the folder that `address` names. `retrying` is called, on any thread, before a request is tried again, with how long
/// it waits.
///
/// Requests that fail because of a cut connection, of too many requests (429) or of a fault of the store (5xx) are tried again,
/// with pauses that double. Nothing is asked of the store yet.
///
/// # Errors
///
/// [`StoreError::Unset`] if a setting of the store is missing in the environment, and [`StoreError::BadVariable`] if one cannot be
/// used.
pub fn open(
    address: &Address,
    environment: &Environment,
    parallel: usize,
    retrying: &Retrying,
) -> Result<Opened, StoreError> {
    open_with(address, environment, parallel, PAUSES, retrying)
}

/// Like [`open`], with these pauses between tries.
pub(crate) fn open_with(
    address: &Address,
    environment: &Environment,
    parallel: usize,
    [first, longest]: [Duration; 2],
    retrying: &Retrying,
) -> Result<Opened, StoreError> {
    let parallel = parallel.max(1);
    let remote = |operator: Result<Operator, opendal::Error>, is_bucket| -> Result<Box<dyn Store + Send>, StoreError> {
        let url = address.to_string();
        // A bucket's store redirects to another region's, which wants another signature.
        let redirections = if is_bucket { 0 } else { REDIRECTIONS };
        let operator = operator.map_err(|error| unfit(&url, &error))?;
        let transport = HttpTransporter::new(Transport::new(parallel, redirections, Proxies::of(environment)?));
        let retrying = Arc::clone(retrying);
        let retry = RetryLayer::default()
            .with_max_times(TRIES)
            .with_min_delay(first)
            .with_max_delay(longest)
            .with_factor(2.0)
            .with_jitter()
            .with_notify(move |event: RetryEvent<'_>| retrying(event.retry_after));
        let operator = operator
            .with_context(OperationContext::new().with_http_transport(transport))
            .layer(retry);
        Ok(Box::new(Remote::new(operator, url, is_bucket)))
    };
    environment.require_printable(match &address.place {
        Place::S3 { .. } => &["AWS_"],
        Place::Google { .. } => &["GOOGLE_", "STORAGE_"],
        Place::Azure { .. } => &["AZURE_"],
        Place::Hub { .. } => &["HF_"],
        Place::Folder(_) | Place::Web { .. } => &[],
    })?;
    let store = match &address.place {
        Place::Folder(dir) => Box::new(Folder::new(dir.clone(), address.to_string())),
        Place::S3 { bucket, prefix } => remote(Operator::new(s3(address, bucket, prefix, environment)?), true)?,
        Place::Google { bucket, prefix } => remote(Operator::new(google(bucket, prefix, environment)?), true)?,
        Place::Azure { container, prefix } => {
            remote(Operator::new(azure(address, container, prefix, environment)?), true)?
        }
        Place::Web { server, path } => remote(Operator::new(web(server, path)), false)?,
        Place::Hub {
            repository,
            revision,
            prefix,
        } => {
            let base = environment.get("HF_ENDPOINT").unwrap_or(HUB).trim_end_matches('/');
            require_server("HF_ENDPOINT", base)?;
            let host = base.find("://").map_or(0, |scheme| scheme + 3);
            let (server, path) = base.split_at(base[host..].find('/').map_or(base.len(), |slash| host + slash));
            let mut builder = web(
                server,
                &format!("{path}/datasets/{repository}/resolve/{revision}/{prefix}"),
            );
            if let Some(token) = environment.hub_token() {
                builder = builder.token(&token);
            }
            remote(Operator::new(builder), false)?
        }
    };
    Ok(Opened { store, parallel })
}

/// A folder that a web server shows.
fn web(server: &str, path: &str) -> Http {
    Http::default()
        .endpoint(server)
        .root(&format!("/{}", path.trim_start_matches('/')))
}

fn s3(address: &Address, bucket: &str, prefix: &str, environment: &Environment) -> Result<S3, StoreError> {
    let mut builder = S3::default().bucket(bucket).root(&format!("/{prefix}"));
    let endpoint = environment.named(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
    let region = environment
        .region()
        .or_else(|| endpoint.map(|_| ANY_REGION.to_owned()))
        .ok_or_else(|| StoreError::Unset {
            what: "the region",
            url: address.to_string(),
        })?;
    builder = builder.region(&region);
    if let Some((variable, endpoint)) = endpoint {
        require_server(variable, endpoint)?;
        builder = builder.endpoint(endpoint);
    }
    if let (Some(id), Some(secret)) = (
        environment.get("AWS_ACCESS_KEY_ID"),
        environment.get("AWS_SECRET_ACCESS_KEY"),
    ) {
        builder = builder.access_key_id(id).secret_access_key(secret);
        if let Some(token) = environment.get("AWS_SESSION_TOKEN") {
            builder = builder.session_token(token);
        }
    }
    if !environment.loads() {
        builder = builder.disable_config_load();
    }
    let has_no_metadata = environment
        .get("AWS_EC2_METADATA_DISABLED")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if !environment.loads() || has_no_metadata {
        builder = builder.disable_ec2_metadata();
    }
    Ok(builder)
}

fn google(bucket: &str, prefix: &str, environment: &Environment) -> Result<Gcs, StoreError> {
    let mut builder = Gcs::default().bucket(bucket).root(&format!("/{prefix}"));
    if let Some(host) = environment.get("STORAGE_EMULATOR_HOST") {
        // Google's own libraries send an emulator no credentials, and take a host without a scheme.
        let scheme = if host.contains("://") { "" } else { "http://" };
        let endpoint = format!("{scheme}{}", host.trim_end_matches('/'));
        require_server("STORAGE_EMULATOR_HOST", &endpoint)?;
        return Ok(builder.endpoint(&endpoint).skip_signature());
    }
    if let Some(path) = environment.get("GOOGLE_APPLICATION_CREDENTIALS") {
        builder = builder.credential_path(path);
    }
    if !environment.loads() {
        builder = builder.disable_config_load().disable_vm_metadata();
    }
    Ok(builder)
}

fn azure(address: &Address, container: &str, prefix: &str, environment: &Environment) -> Result<Azblob, StoreError> {
    let root = format!("/{prefix}");
    if let Some(text) = environment.get("AZURE_STORAGE_CONNECTION_STRING") {
        let part = |name: &str| {
            text.split(';')
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let problem = match (part("BlobEndpoint"), part("AccountKey")) {
            (Some(endpoint), _) if problem_of_server(endpoint).is_some() => problem_of_server(endpoint),
            (_, Some(key)) if require_base64("", key).is_err() => Some("its `AccountKey` is not base64"),
            (None, _) if part("EndpointSuffix").is_none() && part("UseDevelopmentStorage").is_none() => {
                Some("it is no connection string that names a server, by `BlobEndpoint` or `EndpointSuffix`")
            }
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(bad_connection_string(problem));
        }
        let builder = Azblob::from_connection_string(text)
            .map_err(|_| bad_connection_string("it is no connection string of a storage account"))?;
        return Ok(builder.container(container).root(&root));
    }
    let (variable, account) = environment
        .named(&["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"])
        .ok_or_else(|| StoreError::Unset {
            what: "the storage account",
            url: address.to_string(),
        })?;
    let endpoint = if let Some(endpoint) = environment.get("AZURE_STORAGE_ENDPOINT") {
        require_server("AZURE_STORAGE_ENDPOINT", endpoint)?;
        endpoint.to_owned()
    } else {
        require_account(variable, account)?;
        format!("https://{account}.blob.core.windows.net")
    };
    let mut builder = Azblob::default()
        .container(container)
        .root(&root)
        .endpoint(&endpoint)
        .account_name(account);
    if let Some((variable, key)) = environment.named(&["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"]) {
        require_base64(variable, key)?;
        builder = builder.account_key(key);
    }
    if let Some(token) = environment.get("AZURE_STORAGE_SAS_TOKEN") {
        builder = builder.sas_token(token.trim_start_matches('?'));
    }
    Ok(builder)
}

/// The error of settings that do not fit. What opendal says of them may quote them.
fn unfit(url: &str, _error: &opendal::Error) -> StoreError {
    StoreError::Unset {
        what: "a setting or a credential",
        url: url.to_owned(),
    }
}
