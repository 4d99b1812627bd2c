//! Ready files for many devices at once: browser policy, PowerShell, environment, DHCP. Pure text from addresses; every one fails
//! open where its format can.

use crate::portal::frame::{Frame, Place};
use crate::portal::pac::Wpad;
use crate::portal::words::Words;
use crate::tls::authority::Fingerprint;
use askama::Template;
use serde_json::json;
use std::fmt::Write;

/// The files; `None` where the address is not known by which devices reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// `ProxySettings` of Chrome and Edge.
    pub policy: String,
    /// For Windows.
    pub powershell: String,
    /// For programs without a screen; `None` when the proxy's address is not known.
    pub environment: Option<String>,
    /// For DHCP and DNS.
    pub wpad: String,
}

impl Files {
    /// For devices that reach us at `place`; `fingerprint`: of the school's CA, if it has one.
    pub fn new(place: &Place, zone: &str, fingerprint: Option<Fingerprint>) -> Option<Files> {
        let (web, pac) = (place.web?, place.by_number("/proxy.pac")?);
        let policy = json!({ "ProxySettings": { "ProxyMode": "pac_script", "ProxyPacUrl": pac, "ProxyPacMandatory": false } });
        Some(Files {
            policy: format!("{policy:#}\n"),
            powershell: powershell(&pac, place.by_number("/ca.crt").zip(fingerprint)),
            environment: place.proxy.map(|proxy| {
                let none = format!("localhost,127.0.0.1,::1,.local,.{zone},10.0.0.0/8,172.16.0.0/12,192.168.0.0/16");
                format!(
                    "export http_proxy=\"http://{proxy}\" https_proxy=\"http://{proxy}\"\nexport no_proxy=\"{none}\"\nexport HTTP_PROXY=\"$http_proxy\" HTTPS_PROXY=\"$https_proxy\" NO_PROXY=\"$no_proxy\"\n"
                )
            }),
            wpad: Wpad::new(web, zone).text(),
        })
    }
}

fn powershell(pac: &str, certificate: Option<(String, Fingerprint)>) -> String {
    let mut script = format!(
        r"# For the user who runs it: the automatic set-up address of the school's cache.
$settings = 'HKCU:\Software\Microsoft\Windows\CurrentVersion\Internet Settings'
Set-ItemProperty -Path $settings -Name AutoConfigURL -Type String -Value '{pac}'
# Back: Remove-ItemProperty -Path $settings -Name AutoConfigURL
"
    );
    if let Some((url, fingerprint)) = certificate {
        let plain = fingerprint.to_string().replace(':', "");
        // Writing to a string cannot fail.
        let _ = write!(
            script,
            r"
# As an administrator: the school's certificate, when its fingerprint is the one of the sheet on the wall.
$file = Join-Path $env:TEMP 'bulak-ca.crt'
Invoke-WebRequest -UseBasicParsing -Uri '{url}' -OutFile $file
if ((Get-FileHash -Algorithm SHA256 $file).Hash -ne '{plain}') {{ throw 'the certificate is not the school''s' }}
Import-Certificate -FilePath $file -CertStoreLocation Cert:\LocalMachine\Root
"
        );
    }
    script.replace('\n', "\r\n")
}

/// The page that lists them.
#[derive(Clone, Copy)]
pub struct Fleet<'p> {
    /// The frame.
    pub frame: Frame<'p>,
    /// The files; `None`: the address is not known.
    pub files: Option<&'p Files>,
}

#[derive(Template)]
#[template(path = "fleet.html", config = ".askama.toml")]
struct Page<'p> {
    frame: Frame<'p>,
    words: &'static Words,
    files: Option<&'p Files>,
}

impl Fleet<'_> {
    /// The page.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self) -> Result<String, askama::Error> {
        Page { frame: self.frame, words: self.frame.words, files: self.files }.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_names_the_address_by_which_it_was_asked() {
        let place = Place { proxy: "192.168.8.1:3128".parse().ok(), web: "192.168.8.1:80".parse().ok(), name: None };
        let files = Files::new(&place, "abay-12.internal", None).expect("known");
        let policy: serde_json::Value = serde_json::from_str(&files.policy).expect("JSON");
        assert_eq!(policy["ProxySettings"]["ProxyPacUrl"], "http://192.168.8.1/proxy.pac");
        assert_eq!(policy["ProxySettings"]["ProxyPacMandatory"], false, "a dead server must not cut the class off");
        assert!(files.powershell.contains("-Value 'http://192.168.8.1/proxy.pac'\r\n") && !files.powershell.contains("Import-Certificate"));
        assert!(files.environment.expect("known").contains("http_proxy=\"http://192.168.8.1:3128\""));
        assert!(files.wpad.contains("dhcp-option=252"));
        let trusting = Files::new(&place, "abay-12.internal", Some(Fingerprint::of(b"x"))).expect("known");
        assert!(trusting.powershell.contains("2D711642B726B04401627CA9FBAC32F5C8530FB1903CC4DB02258717921A4881"), "sha256 of x");
        assert_eq!(Files::new(&Place::default(), "abay-12.internal", None), None);
    }
}
