//! A device of the class that speaks TLS through a proxy and tells what it saw: curl fetches, openssl shows the certificate.
//!
//! A device trusts exactly the files that it is given (beside the system's roots), so that who signed what it saw is told by
//! whether it believes it; and the certificate itself can be held against the one that the origin really has.

use crate::kit::program;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A device: by which proxy it goes, and whom it trusts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    proxy: Option<String>,
    roots: Vec<PathBuf>,
    words: Vec<String>,
}

/// What curl got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetched {
    /// The final status; 0 when there was none.
    pub(crate) status: u16,
    /// `1.1` or `2`.
    pub(crate) version: String,
    /// The head of the answer (the proxy's answer to CONNECT left out).
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// Who signed the certificate seen, as openssl prints it (`CN = …`); empty when none was believed.
    pub(crate) issuer: String,
    /// Whose it is.
    pub(crate) subject: String,
    /// curl's exit code: 0, 60 (not believed), 35 (no TLS), 56 (the proxy refuses) …
    pub(crate) exit: i64,
    /// What curl says about it.
    pub(crate) error: String,
}

/// What openssl saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// The server's certificate, DER; empty when there was no handshake.
    pub(crate) certificate: Vec<u8>,
    /// Who signed it, `CN = …`.
    pub(crate) issuer: String,
    /// `TLSv1.3`, `TLSv1.2`.
    pub(crate) protocol: String,
    /// What was agreed by ALPN; empty when nothing.
    pub(crate) alpn: String,
    /// `0 (ok)`, or why it is not believed.
    pub(crate) verified: String,
    /// Everything that openssl said.
    pub(crate) said: String,
}

impl Device {
    /// A device that uses this proxy and trusts the system's roots alone.
    pub(crate) fn behind(proxy: SocketAddr) -> Device {
        Device { proxy: Some(format!("http://{proxy}")), ..Device::default() }
    }

    /// A device without a proxy.
    pub(crate) fn direct() -> Device {
        Device::default()
    }

    /// Trusts the certificates of a PEM file as well.
    pub(crate) fn trusting(mut self, file: &Path) -> Device {
        self.roots.push(file.to_owned());
        self
    }

    /// Hands curl further words.
    pub(crate) fn with(mut self, words: &[&str]) -> Device {
        self.words.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// One `GET` by curl.
    pub(crate) fn get(&self, url: &str) -> Fetched {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let mut curl = Command::new(program::need("curl"));
        curl.args(["-sS", "--max-time", "60", "--noproxy", "", "--suppress-connect-headers", "-D"])
            .arg(at("head"))
            .arg("-o")
            .arg(at("body"));
        if let Some(proxy) = &self.proxy {
            curl.args(["--proxy", proxy]);
        }
        if let Some(roots) = self.roots_in(folder.path()) {
            curl.arg("--cacert").arg(roots);
        }
        curl.args(&self.words).args(["--write-out", "%{json}\n%{certs}", url]);
        let output = program::run(&curl, 90);
        let said = String::from_utf8_lossy(&output.stdout);
        let (json, certificates) = said.split_once('\n').unwrap_or((&said, ""));
        let told: serde_json::Value = serde_json::from_str(json)
            .unwrap_or_else(|error| panic!("curl {url}: {error}: {said}{}", String::from_utf8_lossy(&output.stderr)));
        Fetched {
            status: told["response_code"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or(0),
            version: told["http_version"].as_str().unwrap_or_default().to_owned(),
            head: fs::read_to_string(at("head")).unwrap_or_default(),
            body: fs::read(at("body")).unwrap_or_default(),
            issuer: line(certificates, "Issuer:"),
            subject: line(certificates, "Subject:"),
            exit: told["exitcode"].as_i64().unwrap_or(-1),
            error: told["errormsg"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// A TLS handshake by openssl with `host:port`, asked for by that name; whatever the certificate, it is shown.
    pub(crate) fn look(&self, host: &str, port: u16) -> Sight {
        self.look_at(&format!("{host}:{port}"), Some(host), &[])
    }

    /// The same with the place and the name (none: no SNI) apart, and further words for `s_client`.
    pub(crate) fn look_at(&self, place: &str, name: Option<&str>, words: &[&str]) -> Sight {
        let folder = tempfile::tempdir().expect("a folder");
        let mut openssl = Command::new(program::need("openssl"));
        openssl.args(["s_client", "-connect", place, "-alpn", "h2,http/1.1"]);
        match name {
            Some(name) => openssl.args(["-servername", name, "-verify_hostname", name]),
            None => openssl.arg("-noservername"),
        };
        if let Some(proxy) = self.proxy.as_deref().and_then(|proxy| proxy.strip_prefix("http://")) {
            openssl.args(["-proxy", proxy]);
        }
        if let Some(roots) = self.roots_in(folder.path()) {
            openssl.arg("-CAfile").arg(roots);
        }
        let output = program::run(openssl.args(words), 60);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Sight {
            certificate: certificate(&said).unwrap_or_default(),
            issuer: line(&said, "issuer="),
            protocol: line(&said, "New, ").split(',').next().unwrap_or_default().to_owned(),
            alpn: line(&said, "ALPN protocol:"),
            verified: line(&said, "Verify return code:"),
            said,
        }
    }

    /// All files it trusts in one, which is what the programs take.
    fn roots_in(&self, folder: &Path) -> Option<PathBuf> {
        let texts: Vec<String> = self.roots.iter().map(|file| fs::read_to_string(file).expect("a PEM file")).collect();
        let file = folder.join("roots.pem");
        fs::write(&file, texts.concat()).expect("a file");
        (!texts.is_empty()).then_some(file)
    }
}

impl Fetched {
    /// A field of the head; empty when it has none.
    pub(crate) fn field(&self, name: &str) -> &str {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next_back().unwrap_or_default()
    }

    /// Whether it came out of the node's store.
    pub(crate) fn is_hit(&self) -> bool {
        self.field("cache-status").contains("; hit")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The rest of the first line that begins so, without spaces before and after.
fn line(text: &str, begin: &str) -> String {
    text.lines().find_map(|line| line.trim_start().strip_prefix(begin)).unwrap_or_default().trim().to_owned()
}

/// The first certificate in a text.
fn certificate(text: &str) -> Option<Vec<u8>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(text.as_bytes()).ok().map(|der| der.to_vec())
}
