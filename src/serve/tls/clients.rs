//! Certificates that clients show: who makes them, and whom they are for. Layer 8.

use super::pair::element;
use crate::config::Config;
use crate::problem::Problem;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::sync::Arc;

/// SEQUENCE in DER.
const SEQUENCE: u8 = 0x30;
/// The attribute `commonName` (RFC 5280 appendix A.1): an OBJECT IDENTIFIER in DER, its content.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// Reads those who make clients' certificates; `None` where `config` names nobody.
///
/// # Errors
/// What is wrong with the file, on the line that names it.
pub fn read_authorities(config: &Config) -> Result<Option<Arc<RootCertStore>>, Problem> {
    let Some(ca) = &config.control.client_ca else { return Ok(None) };
    let path = config.resolve(&ca.file);
    let wrong = |why: String| {
        let found = format!("{} ({why})", path.display());
        Problem::at(ca.line, "control.client_ca", found, "certificates of authorities in PEM")
    };
    let pem = fs::read(&path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("no certificate in it".to_owned())) } else { Ok(Some(Arc::new(roots))) }
}

/// Whom a certificate is for: its DNS names, in lower case, and its URIs; where it has neither, its common
/// names. Addresses are nobody's name.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> Arc<[Box<str>]> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return Arc::default() };
    let dns = parsed.valid_dns_names().map(str::to_ascii_lowercase);
    let mut names: Vec<Box<str>> = dns.map(Box::from).collect();
    names.extend(parsed.valid_uri_names().map(Box::from));
    if names.is_empty() {
        common_names(parsed.subject(), &mut names);
    }
    names.into()
}

/// Appends the common names in a subject, which is given without its own tag and length: sets of
/// attributes, each a sequence of a type and a value (RFC 5280 section 4.1.2.4).
fn common_names(mut subject: &[u8], names: &mut Vec<Box<str>>) {
    while let Some((_, mut set, rest)) = element(subject) {
        subject = rest;
        while let Some((SEQUENCE, attribute, rest)) = element(set) {
            set = rest;
            let Some((_, COMMON_NAME, value)) = element(attribute) else { continue };
            let Some((tag, value, _)) = element(value) else { continue };
            // UTF8String, PrintableString, IA5String: what is text as it stands.
            if let (0x0c | 0x13 | 0x16, Ok(name)) = (tag, std::str::from_utf8(value)) {
                names.push(name.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

    /// The names of a certificate with these common and other names.
    fn names(common: &[&str], others: Vec<SanType>) -> Vec<String> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = others;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "not a name");
        for name in common {
            params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String((*name).to_owned()));
        }
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        names_of(made.der()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_certificate_is_for_its_names_and_for_its_common_name_without() {
        let text = |text: &str| text.try_into().expect("ASCII");
        let others = vec![
            SanType::DnsName(text("Inventory.example")),
            SanType::URI(text("spiffe://example/Inventory")),
            SanType::IpAddress([192, 0, 2, 1].into()),
        ];
        assert_eq!(names(&["other"], others), ["inventory.example", "spiffe://example/Inventory"]);
        assert_eq!(names(&["inventory-eu"], Vec::new()), ["inventory-eu"]);
        assert_eq!(
            names(&["inventory-eu"], vec![SanType::IpAddress([192, 0, 2, 1].into())]),
            ["inventory-eu"]
        );
        assert!(names(&[], Vec::new()).is_empty());
        assert!(names_of(&CertificateDer::from(vec![0x30, 0])).is_empty());
    }
}
