//! Certificates in a file (RFC 7468).

use std::fs;
use std::path::Path;

use data_encoding::BASE64;
use ring::digest;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::failure::Failure;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Largest file that is read.
const MAX_FILE: u64 = 64 * 1024;

/// The certificates in a file, as DER; at least one.
pub fn certificates(file: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let name = file.display();
    let unreadable = |error: std::io::Error| Failure::failed(format!("cannot read {name}: {error}"));
    if fs::metadata(file).map_err(unreadable)?.len() > MAX_FILE {
        return Err(Failure::failed(format!(
            "{name} is too long for a few certificates"
        )));
    }
    let text = fs::read_to_string(file).map_err(unreadable)?;
    parse(&text).ok_or_else(|| {
        let text = format!(
            "{name} has no certificate that could be read; give it as PEM, e.g. /etc/kubernetes/pki/ca.crt"
        );
        Failure::failed(text)
    })
}

/// SHA-256 of the public key of the first certificate in a file, as kubeadm pins an authority (its SubjectPublicKeyInfo, RFC 7469
/// section 2.4).
pub fn key_hash(file: &Path) -> Result<[u8; 32], Failure> {
    let odd = || Failure::failed(format!("the certificate in {} cannot be read", file.display()));
    let all = certificates(file)?;
    let der = CertificateDer::from(all.into_iter().next().ok_or_else(odd)?);
    let certificate = EndEntityCert::try_from(&der).map_err(|_| odd())?;
    let hash = digest::digest(&digest::SHA256, certificate.subject_public_key_info().as_ref());
    hash.as_ref().try_into().map_err(|_| odd())
}

/// `None` where there is none, or one that cannot be read.
fn parse(text: &str) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let (body, after) = after.split_once(END)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = BASE64.decode(body.as_bytes()).ok()?;
        // a certificate is a sequence (RFC 5280 section 4.1)
        if der.first() != Some(&0x30) {
            return None;
        }
        found.push(der);
        rest = after;
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_found_among_other_text() {
        let text = format!("CA of a cluster\n{BEGIN}\nMAMC\nAQU=\n{END}\nand\n{BEGIN}\r\nMAA=\r\n{END}\n");
        let found = parse(&text).unwrap();
        assert_eq!(found, [vec![0x30, 3, 2, 1, 5], vec![0x30, 0]]);
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        for text in [
            "",
            "MAMCAQU=",
            &format!("{BEGIN}\nMAMCAQU="),
            &format!("{BEGIN}\n!!!\n{END}"),
            &format!("{BEGIN}\nAAAA\n{END}"),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
