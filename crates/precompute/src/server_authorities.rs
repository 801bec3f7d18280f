//! The certificate authorities by which an `https` server is trusted, as the environment variables of `OpenSSL` name them.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use leadspan_files::read_regular;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::server_error::ServerError;

/// The most bytes of a file of certificates: all that browsers trust take some 220 kB.
const MOST_BYTES: u64 = 16 << 20;

const FILE: &str = "SSL_CERT_FILE";
const FOLDERS: &str = "SSL_CERT_DIR";

/// The certificate authorities that are trusted together, in place of those of browsers. By default none are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerAuthorities {
    /// A file of certificates in the PEM format.
    pub file: Option<PathBuf>,
    /// Folders of such files. As in `OpenSSL`, only those count whose name is the hash of the certificate's subject and a number,
    /// such as `5ed36f99.0`.
    pub folders: Vec<PathBuf>,
}

impl ServerAuthorities {
    /// Those that the variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name. The second may name several folders, between colons.
    /// An empty variable is none.
    pub fn of_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let folders = variable(FOLDERS).unwrap_or_default();
        Self {
            file: variable(FILE).filter(|path| !path.is_empty()).map(PathBuf::from),
            folders: std::env::split_paths(&folders)
                .filter(|folder| !folder.as_os_str().is_empty())
                .collect(),
        }
    }

    /// Their certificates; `None` if none are named.
    ///
    /// # Errors
    ///
    /// [`ServerError::Authorities`] for the first file or folder that cannot be read, is damaged or holds no certificate.
    pub(crate) fn certificates(&self) -> Result<Option<RootCerts>, ServerError> {
        let mut certificates = Vec::new();
        if let Some(path) = &self.file {
            let found = in_file(path).map_err(|why| refused(FILE, path, why))?;
            certificates.extend(found.ok_or_else(|| refused(FILE, path, "it holds no certificate".to_owned()))?);
        }
        for folder in &self.folders {
            certificates.extend(in_folder(folder)?);
        }
        if self.file.is_none() && self.folders.is_empty() {
            return Ok(None);
        }
        Ok(Some(RootCerts::new_with_certs(&certificates)))
    }
}

fn refused(variable: &'static str, path: &Path, why: String) -> ServerError {
    ServerError::Authorities {
        variable,
        path: path.to_owned(),
        why,
    }
}

/// The certificates in a file in the PEM format; `None` if it holds none.
fn in_file(path: &Path) -> Result<Option<Vec<Certificate<'static>>>, String> {
    let bytes = read_regular(path, MOST_BYTES).map_err(|error| error.to_string())?;
    let mut certificates = Vec::new();
    for item in parse_pem(&bytes) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
            certificates.push(certificate);
        }
    }
    Ok((!certificates.is_empty()).then_some(certificates))
}

/// The certificates in the files of a folder that `OpenSSL` would find, ordered by name. A link that leads nowhere is none.
fn in_folder(folder: &Path) -> Result<Vec<Certificate<'static>>, ServerError> {
    let wrong = |error: io::Error| refused(FOLDERS, folder, error.to_string());
    let mut paths = Vec::new();
    for entry in folder.read_dir().map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let path = entry.path();
        if entry.file_name().to_str().is_some_and(is_hash) && path.exists() {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    let mut certificates = Vec::new();
    for path in paths {
        let found = in_file(&path).map_err(|why| refused(FOLDERS, &path, why))?;
        certificates.extend(found.into_iter().flatten());
    }
    if certificates.is_empty() {
        let why = "it holds no certificate under a name such as `5ed36f99.0`, as `openssl rehash` makes it";
        return Err(refused(FOLDERS, folder, why.to_owned()));
    }
    Ok(certificates)
}

/// Whether a name is a hash of 32 bits in small letters, a point and a number.
fn is_hash(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
            && !number.is_empty()
            && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file that holds one certificate, of two bytes.
    fn certificate(number: u8) -> String {
        let body = ["MAA=", "MAE=", "MAI="][usize::from(number)];
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    /// The certificates, or the variable, path and reason with which they are refused.
    fn found(authorities: &ServerAuthorities) -> Result<Vec<Vec<u8>>, (&'static str, PathBuf, String)> {
        match authorities.certificates() {
            Ok(Some(RootCerts::Specific(certificates))) => Ok(certificates
                .iter()
                .map(|certificate| certificate.der().to_vec())
                .collect()),
            Ok(_) => panic!("some are named"),
            Err(ServerError::Authorities { variable, path, why }) => Err((variable, path, why)),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_variables_name_a_file_and_folders_between_colons() {
        let of = |file: &str, folders: &str| {
            let (file, folders) = (OsString::from(file), OsString::from(folders));
            ServerAuthorities::of_environment(move |name| match name {
                FILE => Some(file.clone()),
                FOLDERS => Some(folders.clone()),
                _ => None,
            })
        };
        assert_eq!(
            ServerAuthorities::of_environment(|_| None),
            ServerAuthorities::default()
        );
        assert_eq!(of("", ""), ServerAuthorities::default());
        assert!(ServerAuthorities::default().certificates().unwrap().is_none());
        let named = of("roots.pem", "/a::/b");
        assert_eq!(named.file, Some("roots.pem".into()));
        assert_eq!(named.folders, [PathBuf::from("/a"), "/b".into()]);
    }

    #[test]
    fn a_file_of_authorities_holds_certificates_or_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roots.pem");
        let authorities = ServerAuthorities {
            file: Some(path.clone()),
            folders: Vec::new(),
        };
        let refusal = || {
            let (variable, named, why) = found(&authorities).unwrap_err();
            assert_eq!((variable, named), (FILE, path.clone()));
            why
        };
        assert!(refusal().contains("No such file"), "{}", refusal());
        fs::write(&path, "certificates").unwrap();
        assert_eq!(refusal(), "it holds no certificate");
        fs::write(&path, "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n").unwrap();
        assert!(!refusal().is_empty());
        fs::write(&path, certificate(0) + &certificate(1)).unwrap();
        assert_eq!(found(&authorities).unwrap(), [vec![0x30, 0], vec![0x30, 1]]);
    }

    #[test]
    fn a_folder_of_authorities_is_read_as_openssl_reads_it_or_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
        let authorities = ServerAuthorities {
            file: None,
            folders: vec![first.clone(), second.clone()],
        };
        let refusal = || {
            let (variable, named, why) = found(&authorities).unwrap_err();
            assert_eq!(variable, FOLDERS);
            (named, why)
        };
        let (named, why) = refusal();
        assert!(named == first && why.contains("No such file"), "{why}");
        fs::create_dir(&first).unwrap();
        // Names that are no hashes of subjects: `OpenSSL` never looks at them.
        for name in [
            "ca.pem",
            "5ed36f99",
            "5ed36f99.",
            "5ed36f99.r0",
            "5ed36f9.0",
            "5ED36F99.0",
            "5ed36f99.0.bak",
        ] {
            fs::write(first.join(name), certificate(0)).unwrap();
        }
        let (named, why) = refusal();
        assert!(named == first && why.contains("`openssl rehash`"), "{why}");
        fs::write(first.join("5ed36f99.1"), certificate(2)).unwrap();
        std::os::unix::fs::symlink("ca.pem", first.join("5ed36f99.0")).unwrap();
        std::os::unix::fs::symlink("nowhere", first.join("00000000.0")).unwrap();
        fs::write(&second, "").unwrap();
        assert_eq!(refusal().0, second, "a file in the place of a folder");
        fs::remove_file(&second).unwrap();
        fs::create_dir(&second).unwrap();
        fs::write(second.join("00000000.0"), certificate(1)).unwrap();
        // Those of the file come first, and then those of each folder.
        let file = dir.path().join("roots.pem");
        fs::write(&file, certificate(0)).unwrap();
        let all = ServerAuthorities {
            file: Some(file),
            ..authorities.clone()
        };
        let numbers: Vec<u8> = found(&all).unwrap().into_iter().map(|der| der[1]).collect();
        assert_eq!(numbers, [0, 0, 2, 1]);
        let damaged = second.join("00000001.0");
        fs::write(&damaged, "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n").unwrap();
        assert_eq!(refusal().0, damaged);
    }
}
