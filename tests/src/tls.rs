//! The box's certificates, seen by who installs its authority.

use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    prelude::{FromDer, X509Certificate},
};

use crate::{
    http::Client,
    report::{Fault, Outcome, ensure},
};

/// That the authority on the trust page vouches for the server on `port` under the names people use, that nothing else
/// does, and that the authority can vouch for nothing outside the house.
pub(crate) fn chain(client: &Client, port: u16, words: &[String]) -> Outcome {
    ensure!(words.len() == 6, "the console shows {} words", words.len());
    let pem = client.get("/ca.crt")?.body;
    for name in ["homelab.local", "127.0.0.1"] {
        let answer = Client::trusting(port, &pem, name).get("/healthz")?;
        ensure!(answer.status == 200, "as {name}, /healthz answers {}", answer.status);
    }
    for name in ["homelab.example", "evil.local"] {
        let outcome = Client::trusting(port, &pem, name).get("/healthz");
        ensure!(outcome.is_err(), "the certificate is taken for {name}");
    }
    let authority = CertificateDer::from_pem_slice(&pem).map_err(|error| Fault::Fails(format!("/ca.crt: {error}")))?;
    let (_, authority) =
        X509Certificate::from_der(&authority).map_err(|error| Fault::Fails(format!("/ca.crt: {error}")))?;
    ensure!(authority.is_ca(), "/ca.crt is no authority's certificate");
    let constraints = authority.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::NameConstraints(constraints) => Some((extension.critical, constraints)),
        _ => None,
    });
    let Some((critical, constraints)) = constraints else {
        return crate::report::fails("the authority has no name constraints");
    };
    ensure!(critical, "the name constraints are not critical: old programs would pass over them");
    let permitted: Vec<&GeneralName> =
        constraints.permitted_subtrees.iter().flatten().map(|subtree| &subtree.base).collect();
    ensure!(
        permitted.iter().any(|name| matches!(name, GeneralName::DNSName(_))),
        "no DNS name is named in {permitted:?}"
    );
    ensure!(
        permitted.iter().any(|name| matches!(name, GeneralName::IPAddress(_))),
        "no address is named in {permitted:?}"
    );
    for name in permitted {
        if let GeneralName::DNSName(dns) = name {
            let inside = dns.trim_start_matches('.').ends_with("local") || !dns.contains('.');
            ensure!(inside, "the authority may vouch for {dns}");
        }
    }
    let leaf = client.certificates()?;
    let first = leaf.first().ok_or_else(|| Fault::Fails("the server shows no certificate".into()))?;
    let (_, leaf) = X509Certificate::from_der(first).map_err(|error| Fault::Fails(format!("its leaf: {error}")))?;
    ensure!(!leaf.is_ca(), "the server's own certificate is an authority's");
    ensure!(leaf.issuer() == authority.subject(), "the leaf is not of the authority");
    Ok(())
}
