//! Why a call failed, in a sentence for the owner of the node.

use super::resolve::NoAddress;
use lamplighter_core::health::{PROBE_TIMEOUT_MS, Report};
use lamplighter_core::node_url::NodeUrl;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use std::error::Error;
use std::io::{self, ErrorKind};

/// The report for a call that got no whole answer.
pub(super) fn report(url: &NodeUrl, error: &reqwest::Error) -> Report {
    if error.is_timeout() {
        return Report::Silent(format!("no answer in {} s", PROBE_TIMEOUT_MS / 1000));
    }
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(report) = known(url, cause) {
            return report;
        }
        // What an I/O error wraps is not its source.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| cause.source());
    }
    Report::Silent(chain(error))
}

/// The report for an address that no request may go to.
pub(super) fn forbidden(url: &NodeUrl) -> Report {
    Report::Refused(format!(
        "{} is the address of a cloud machine's metadata service, not of a node",
        url.host()
    ))
}

/// All causes in one line, without the URL.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        // reqwest's outermost text repeats the URL and adds nothing to its causes.
        if cause.source().is_none() || cause.downcast_ref::<reqwest::Error>().is_none() {
            words.push(cause.to_string());
        }
        next = cause.source();
    }
    words.join(": ")
}

fn known(url: &NodeUrl, cause: &(dyn Error + 'static)) -> Option<Report> {
    if let Some(no_address) = cause.downcast_ref::<NoAddress>() {
        return Some(match no_address {
            NoAddress::Unknown => Report::Silent(format!("the name {} is not known", url.host())),
            NoAddress::Forbidden => forbidden(url),
        });
    }
    if let Some(tls) = cause.downcast_ref::<TlsError>() {
        return Some(Report::Refused(why_tls(tls)));
    }
    if let Some(http) = cause.downcast_ref::<hyper::Error>() {
        if http.is_parse() {
            return Some(Report::Refused("it does not speak HTTP".into()));
        }
        if http.is_incomplete_message() || http.is_closed() {
            return Some(hung_up());
        }
    }
    let kind = cause.downcast_ref::<io::Error>()?.kind();
    Some(match kind {
        ErrorKind::ConnectionRefused => Report::Closed(format!("nothing listens at {}", place(url))),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Report::Silent(format!("there is no way to {} from this machine", url.host()))
        }
        ErrorKind::PermissionDenied => {
            Report::Silent(format!("this machine does not let us connect to {}", place(url)))
        }
        ErrorKind::TimedOut => Report::Silent(format!("no answer in {} s", PROBE_TIMEOUT_MS / 1000)),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => hung_up(),
        _ => return None,
    })
}

fn hung_up() -> Report {
    Report::Silent("it closed the connection without a whole answer".into())
}

fn why_tls(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer => {
                "nobody whom this machine trusts has signed its certificate".into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: is this machine's clock right?".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name".into()
            }
            // webpki's name for a certificate that signs itself; rustls hands it on as text only.
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "its certificate is signed by itself, which this machine does not trust".into()
            }
            other => format!("its certificate is not good: {other}"),
        },
        TlsError::InvalidMessage(_) => "it does not speak TLS: write http:// before the address".into(),
        TlsError::AlertReceived(AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion) => {
            "it speaks only TLS that is too old".into()
        }
        other => format!("TLS failed: {other}"),
    }
}

/// Host and port, the port always.
fn place(url: &NodeUrl) -> String {
    let host = if url.host().contains(':') { format!("[{}]", url.host()) } else { url.host().to_owned() };
    format!("{host}:{}", url.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_blamed_for_what_is_wrong_with_it() {
        let why = |error| why_tls(&TlsError::InvalidCertificate(error));
        assert!(why(CertificateError::UnknownIssuer).contains("trusts"));
        assert!(why(CertificateError::Expired).contains("expired"));
        assert!(why(CertificateError::NotValidForName).contains("another name"));
    }

    #[test]
    fn a_place_has_its_port() {
        let at = |text| place(&NodeUrl::parse(text).unwrap());
        assert_eq!(at("http://nas"), "nas:80");
        assert_eq!(at("fd00::1"), "[fd00::1]:11434");
    }
}
