//! What a visitor calls the box: the `Host` header, checked.

use std::net::IpAddr;

use axum::http::{HeaderMap, Uri, header, uri::Authority};

/// Where HTTPS of this box is for who came by plain HTTP with these headers: `https://<host>[:port]`.
///
/// A `Host` that is none of the box's names and addresses is not repeated: the answer could be kept by a cache and lead
/// others astray. A port other than 80 means that ports are forwarded (8080 to 80 as a rule), and then 443 is not ours.
pub(crate) fn address_for(headers: &HeaderMap, network: &twin::Network) -> String {
    let said = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let Some(said) = said.filter(|said| is_ours(said.host(), network)) else {
        return format!("https://{}", network.local_name());
    };
    match said.port_u16() {
        None | Some(80 | 443) => format!("https://{}", said.host()),
        Some(_) => format!("https://{}:8443", said.host()),
    }
}

/// What stands in the address bar of the browser, where that is the box: HTTP/2 has it in the request's target.
pub(crate) fn came_by(uri: &Uri, headers: &HeaderMap, network: &twin::Network) -> Option<Authority> {
    let said = || headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    uri.authority().cloned().or_else(said).filter(|said| is_ours(said.host(), network))
}

fn is_ours(host: &str, network: &twin::Network) -> bool {
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        let address = address.to_canonical();
        return address.is_loopback()
            || network.interfaces.iter().any(|interface| interface.addresses.contains(&address));
    }
    let host = host.trim_end_matches('.');
    let own = &network.host_name;
    let named = |name: &str| host.eq_ignore_ascii_case(name);
    let is_announced = network.announced.as_deref().is_some_and(named);
    let is_own = || !own.is_empty() && (named(own) || named(&format!("{own}.local")));
    is_announced || named("homelab.local") || named("localhost") || is_own()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn where_a_browser_came_by_is_the_target_of_http_2_or_the_host_header() {
        let network = twin::Network { host_name: "attic".into(), ..Default::default() };
        let came = |target: &str, host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            came_by(&target.parse().unwrap(), &headers, &network).map(|came| came.to_string())
        };
        assert_eq!(came("https://attic.local:8443/x", ""), Some("attic.local:8443".into()));
        assert_eq!(came("/x", "127.0.0.1:4711"), Some("127.0.0.1:4711".into()));
        assert_eq!(came("/x", "evil.example"), None);
        assert_eq!(came("https://evil.example/x", "attic"), None);
    }

    #[test]
    fn a_name_that_avahi_had_to_take_is_the_box_s() {
        let announced = Some("attic-2.local".into());
        let network = twin::Network { host_name: "attic".into(), announced, ..Default::default() };
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("attic-2.local"))]);
        assert_eq!(address_for(&headers, &network), "https://attic-2.local");
        assert_eq!(address_for(&HeaderMap::new(), &network), "https://attic-2.local");
    }

    #[test]
    fn only_the_box_s_own_names_are_repeated() {
        let interface = twin::Interface {
            name: "eth0".into(),
            addresses: vec!["192.168.1.7".parse().unwrap(), "fd00::7".parse().unwrap()],
            ..Default::default()
        };
        let network = twin::Network { host_name: "attic".into(), interfaces: vec![interface], ..Default::default() };
        for (host, expected) in [
            ("homelab.local", "https://homelab.local"),
            ("Attic.local", "https://Attic.local"),
            ("192.168.1.7", "https://192.168.1.7"),
            ("192.168.1.7:80", "https://192.168.1.7"),
            ("[fd00::7]", "https://[fd00::7]"),
            ("127.0.0.1:8080", "https://127.0.0.1:8443"),
            ("192.168.1.8", "https://attic.local"),
            ("evil.example", "https://attic.local"),
            ("homelab.local.evil.example", "https://attic.local"),
            ("homelab.local@evil.example", "https://attic.local"),
            ("", "https://attic.local"),
            ("homelab.local\" onload=\"", "https://attic.local"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            assert_eq!(address_for(&headers, &network), expected, "{host}");
        }
        assert_eq!(address_for(&HeaderMap::new(), &network), "https://attic.local");
    }
}
