//! By which right the API is asked. Read anew for each connection, so that what is renewed needs no restart; shown to no server
//! but those of the federation's authority, and never printed.

use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;

use crate::shell::tls::{self, read_small_file};

/// A credential, by where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The token of an account, alone in a file.
    Token {
        /// Which file.
        file: PathBuf,
    },
    /// A client's certificate and its key, in PEM.
    Certificate {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
}

/// What a credential holds.
pub(super) struct Secret {
    /// Value of the header `Authorization`.
    pub(super) authorization: Option<HeaderValue>,
    /// What is shown in TLS.
    pub(super) identity: Option<tls::Identity>,
}

impl Credential {
    /// That of the kubelet of a k3s agent, which exists while the vehicle is a member. k3s writes it anew at each start.
    #[must_use]
    pub fn of_kubelet(data_folder: &Path) -> Credential {
        let agent = data_folder.join("agent");
        Credential::Certificate {
            certificate: agent.join("client-kubelet.crt"),
            key: agent.join("client-kubelet.key"),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// It cannot be read, or is none; the text names the file and nothing of its content.
    pub(super) fn read(&self) -> Result<Secret, String> {
        match self {
            Credential::Token { file } => {
                let authorization = Some(bearer(file)?);
                Ok(Secret { authorization, identity: None })
            }
            Credential::Certificate { certificate, key } => {
                let identity =
                    tls::identity(certificate, key).map_err(|error| error.to_string())?;
                Ok(Secret { authorization: None, identity: Some(identity) })
            }
        }
    }
}

fn bearer(file: &Path) -> Result<HeaderValue, String> {
    let shown = file.display();
    let content = read_small_file(file).map_err(|error| {
        format!("the account's token cannot be read from {shown}: {error}; images/kubernetes/vehicle.yaml says how to get it")
    })?;
    let token = content.trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(format!(
            "{shown} holds no token: it must be one line without blanks; images/kubernetes/vehicle.yaml says how to get it"
        ));
    }
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat())
        .map_err(|_| format!("{shown} holds no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let credential = Credential::Token { file: file.clone() };
        let fault = |credential: &Credential| credential.read().err().unwrap();
        assert!(fault(&credential).contains("cannot be read"));
        std::fs::write(&file, "hush.hush\n").unwrap();
        let header = credential.read().unwrap().authorization.unwrap();
        assert_eq!(header.as_bytes(), b"Bearer hush.hush");
        assert!(!format!("{header:?} {credential:?}").contains("hush"));
        for wrong in ["", "\n", "hush hush", "hush\nhush", "hush\u{e4}"] {
            std::fs::write(&file, wrong).unwrap();
            let text = fault(&credential);
            assert!(text.contains("holds no token") && !text.contains("hush"), "{text}");
        }
    }
}
