//! The variables that each store has, in words.

/// Where each store's credentials come from, by the scheme of its URL.
pub(crate) fn credentials(url: &str) -> &'static str {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("s3") => {
            "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`), or `AWS_PROFILE` with the files in \
             `~/.aws`"
        }
        Some("gs") => "set `GOOGLE_APPLICATION_CREDENTIALS` to the file of a service account, or log in with `gcloud`",
        Some("az") => {
            "set `AZURE_STORAGE_ACCOUNT` and `AZURE_STORAGE_KEY` or `AZURE_STORAGE_SAS_TOKEN`, or log in with `az login`"
        }
        Some("hf") => "set `HF_TOKEN` to a token that may read the data set, or log in with `hf auth login`",
        _ => "a folder on a web server is read without credentials: it must be public",
    }
}

/// What names each store's server, by the scheme of its URL.
pub(crate) fn server_settings(url: &str) -> &'static str {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("s3") => {
            "`AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` names the server of a store other than Amazon's, and `AWS_REGION` says \
             which of Amazon's it is"
        }
        Some("gs") => "`STORAGE_EMULATOR_HOST` names the server of an emulator; without it, it is Google's",
        Some("az") => {
            "`AZURE_STORAGE_ENDPOINT` or `AZURE_STORAGE_CONNECTION_STRING` names the server; without them, it follows from \
             `AZURE_STORAGE_ACCOUNT`"
        }
        Some("hf") => "`HF_ENDPOINT` names the Hub's server",
        _ => "the URL names the server",
    }
}
