//! What the environment says about stores, handed over by the program.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf};

/// The variables that an [`Environment`] holds.
pub const VARIABLES: [&str; 31] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_EC2_METADATA_DISABLED",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_STORAGE_CONNECTION_STRING",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "STORAGE_EMULATOR_HOST",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HF_HOME",
    "HOME",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// The values of [`VARIABLES`]. Its debug text has none of them.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<&'static str, String>,
    /// Whether files of credentials, the loaders of libraries and metadata services are asked as well.
    loads: bool,
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.values.keys()).finish()
    }
}

impl Environment {
    /// The values that `lookup` finds. What they leave open is found by the stores' usual loaders: files of credentials,
    /// further variables, and the metadata services of clouds.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let values = VARIABLES.into_iter().filter_map(|name| Some((name, lookup(name)?)));
        Self {
            values: values.filter(|(_, value)| !value.is_empty()).collect(),
            loads: true,
        }
    }

    /// Nothing but these values: no file, no loader and no metadata service is asked.
    pub fn alone(values: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self {
            values: values.into_iter().collect(),
            loads: false,
        }
    }

    pub(crate) fn loads(&self) -> bool {
        self.loads
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of the first of these variables that has one.
    pub(crate) fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// The region of S3: from the variables, or that of the profile in `~/.aws/config`.
    pub(crate) fn region(&self) -> Option<String> {
        if let Some(region) = self.first(&["AWS_REGION", "AWS_DEFAULT_REGION"]) {
            return Some(region.to_owned());
        }
        let own = || Some(PathBuf::from(self.get("HOME")?).join(".aws/config"));
        let path = self.get("AWS_CONFIG_FILE").map(PathBuf::from).or_else(own)?;
        let text = fs::read_to_string(path).ok().filter(|_| self.loads)?;
        region_of(&text, self.get("AWS_PROFILE").unwrap_or("default"))
    }

    /// The token of the Hub: `HF_TOKEN`, or the one that its own tools keep.
    pub(crate) fn hub_token(&self) -> Option<String> {
        if let Some(token) = self.get("HF_TOKEN") {
            return Some(token.to_owned());
        }
        let own = || Some(PathBuf::from(self.get("HOME")?).join(".cache/huggingface"));
        let folder = self.get("HF_HOME").map(PathBuf::from).or_else(own)?;
        let text = fs::read_to_string(folder.join("token")).ok().filter(|_| self.loads)?;
        Some(text.trim().to_owned()).filter(|token| !token.is_empty())
    }
}

/// The region of a profile in the text of `~/.aws/config`.
fn region_of(text: &str, profile: &str) -> Option<String> {
    let mut is_asked = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let section = section.trim();
            is_asked = section.strip_prefix("profile ").unwrap_or(section).trim() == profile;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| is_asked)
            && key.trim() == "region"
        {
            return Some(value.trim().to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_that_of_the_profile() {
        let text = "[default]\nregion = eu-west-1\n[profile other]\noutput = json\nregion=us-east-2\n";
        assert_eq!(region_of(text, "default").unwrap(), "eu-west-1");
        assert_eq!(region_of(text, "other").unwrap(), "us-east-2");
        assert_eq!(region_of(text, "third"), None);
        let environment = Environment::alone([("AWS_DEFAULT_REGION", "here".to_owned())]);
        assert_eq!(environment.region().unwrap(), "here");
    }

    #[test]
    fn no_value_is_in_the_debug_text() {
        let environment = Environment::read(|name| (name == "HF_TOKEN").then(|| "hidden".to_owned()));
        assert_eq!(environment.hub_token().unwrap(), "hidden");
        assert_eq!(format!("{environment:?}"), r#"{"HF_TOKEN"}"#);
        assert_eq!(Environment::alone([]).hub_token(), None);
    }
}
