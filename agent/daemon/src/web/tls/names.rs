//! Which names a certificate that is made here must have, so that it fits what people type.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most addresses of the machine that are taken in.
const MOST_ADDRESSES: usize = 32;

/// Names and addresses, as text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Names {
    /// Without one of these a certificate does not fit.
    pub(super) required: Vec<String>,
    /// Taken in when one is made: the addresses of a machine that is listened on everywhere. They may change by the
    /// day, and a certificate that changes with them would have to be compared anew by everybody.
    pub(super) further: Vec<String>,
    /// The machine's own name, where it can be a name in a certificate.
    pub(super) host: Option<String>,
}

impl Names {
    /// What fits this listener and these further hosts.
    pub(super) fn of(listen: SocketAddr, hosts: &[String]) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = host.map(|name| name.trim().to_ascii_lowercase()).filter(|name| super::settings::is_host(name));
        let further = if listen.ip().is_unspecified() { addresses() } else { Vec::new() };
        Self::from(listen, hosts, host, further)
    }

    fn from(listen: SocketAddr, hosts: &[String], host: Option<String>, further: Vec<String>) -> Self {
        let mut required: Vec<String> = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let ip = listen.ip().to_canonical();
        let own = (!ip.is_unspecified()).then(|| ip.to_string());
        for name in host.iter().chain(hosts).chain(&own) {
            // An address in the one way of writing that a certificate is read back in.
            let name = name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |ip| ip.to_string());
            if !required.contains(&name) {
                required.push(name);
            }
        }
        let further = further.into_iter().filter(|name| !required.contains(name)).take(MOST_ADDRESSES).collect();
        Self { required, further, host }
    }

    /// The first name that is missing among those of a certificate.
    pub(super) fn missing<'a>(&'a self, among: &[String]) -> Option<&'a str> {
        self.required
            .iter()
            .find(|name| !among.iter().any(|known| known.eq_ignore_ascii_case(name)))
            .map(String::as_str)
    }
}

/// The addresses of this machine, as the kernel lists them; link-local and loopback ones left out.
fn addresses() -> Vec<String> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let four = local_in(&read("/proc/net/fib_trie"));
    let six = global_in(&read("/proc/net/if_inet6"));
    let mut all = Vec::new();
    for ip in four.into_iter().map(IpAddr::V4).chain(six.into_iter().map(IpAddr::V6)) {
        let text = ip.to_string();
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// An address is followed by what it is: `|-- 192.0.2.2`, then `/32 host LOCAL`.
fn local_in(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in trie.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse::<Ipv4Addr>().ok();
        } else if line.trim() == "/32 host LOCAL"
            && let Some(ip) = last.filter(|ip| !ip.is_loopback() && !ip.is_link_local())
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found
}

/// Address, interface, prefix, scope (00 is global), flags, name.
fn global_in(table: &str) -> Vec<Ipv6Addr> {
    let lines = table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        (fields.nth(2)? == "00").then(|| Ipv6Addr::from(address))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_the_machine_its_address_and_the_configured_hosts() {
        let hosts = ["Press-Shop.example".to_owned(), "10.0.0.7".to_owned(), "2001:DB8:0::7".to_owned()];
        let listen = "192.0.2.2:8443".parse().unwrap();
        let names = Names::from(listen, &hosts, Some("gateway-3".to_owned()), Vec::new());
        assert_eq!(
            names.required,
            [
                "localhost",
                "127.0.0.1",
                "::1",
                "gateway-3",
                "press-shop.example",
                "10.0.0.7",
                "2001:db8::7",
                "192.0.2.2"
            ],
            "addresses as a certificate is read back"
        );
        let mut known = names.required.clone();
        assert_eq!(names.missing(&known), None);
        known.push("192.0.2.77".to_owned());
        assert_eq!(names.missing(&known), None, "more is fine");
        known.retain(|name| name != "gateway-3");
        assert_eq!(names.missing(&known), Some("gateway-3"));
    }

    #[test]
    fn everywhere_is_no_address() {
        let further = vec!["192.0.2.2".to_owned(), "127.0.0.1".to_owned()];
        let names = Names::from("0.0.0.0:8443".parse().unwrap(), &[], None, further);
        assert_eq!((names.required.len(), names.further), (3, vec!["192.0.2.2".to_owned()]));
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.0\n        \
                    /24 link UNICAST\n     |-- 192.0.2.2\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link \
                    BROADCAST\nLocal:\n     |-- 192.0.2.2\n        /32 host LOCAL\n     |-- 169.254.3.4\n        /32 host LOCAL\n";
        assert_eq!(local_in(trie), ["192.0.2.2".parse::<Ipv4Addr>().unwrap()]);
        let table = "fe80000000000000020c29fffe000001 02 40 20 80     eth0\n\
                     20010db8000000000000000000000007 02 40 00 80     eth0\nnonsense\n";
        assert_eq!(global_in(table), ["2001:db8::7".parse::<Ipv6Addr>().unwrap()]);
    }
}
